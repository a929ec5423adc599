//! Where each step of a workflow is, by label. Built once for each body, shared by all orders that run it.

use super::{Instruction, Step, Workflow};
use crate::{BranchName, Label, ctx::LoadedWorkflow};
use std::collections::BTreeMap;

/// By label: where the step stands and what follows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WorkflowIndex {
    places: BTreeMap<Label, Place>,
}

#[derive(Debug, Clone, PartialEq)]
struct Place {
    /// The step that it is inside of, and in which of its lists.
    inside: Option<(Label, Block)>,
    /// In that list.
    index: usize,
    next: Option<Label>,
}

/// A list of steps of a step that has steps inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    Then,
    Otherwise,
    Branch(BranchName),
    Try,
    Catch,
}

impl WorkflowIndex {
    pub fn new(workflow: &Workflow) -> Self {
        let mut index = Self::default();
        index.add(&workflow.steps, None);
        index
    }

    fn add(&mut self, steps: &[Step], inside: Option<(&Label, Block)>) {
        for (i, step) in steps.iter().enumerate() {
            let place = Place {
                inside: inside.as_ref().map(|(label, block)| ((*label).clone(), block.clone())),
                index: i,
                next: steps.get(i + 1).map(|s| s.label.clone()),
            };
            self.places.insert(step.label.clone(), place);
            for (block, list) in step.instruction.blocks() {
                self.add(list, Some((&step.label, block)));
            }
        }
    }
}

impl Instruction {
    /// The lists of steps inside, in the order in which they are written.
    pub fn blocks(&self) -> Vec<(Block, &[Step])> {
        match self {
            Instruction::If { then, otherwise, .. } => vec![(Block::Then, then), (Block::Otherwise, otherwise)],
            Instruction::Try { steps, catch, .. } => vec![(Block::Try, steps), (Block::Catch, catch)],
            Instruction::Fork { branches, .. } => {
                branches.iter().map(|(name, steps)| (Block::Branch(name.clone()), steps.as_slice())).collect()
            }
            Instruction::Job(_) | Instruction::Call { .. } | Instruction::Fail { .. } | Instruction::Finish { .. } => {
                vec![]
            }
        }
    }

    fn block(&self, block: &Block) -> Option<&[Step]> {
        match (self, block) {
            (Instruction::If { then, .. }, Block::Then) => Some(then),
            (Instruction::If { otherwise, .. }, Block::Otherwise) => Some(otherwise),
            (Instruction::Try { steps, .. }, Block::Try) => Some(steps),
            (Instruction::Try { catch, .. }, Block::Catch) => Some(catch),
            (Instruction::Fork { branches, .. }, Block::Branch(name)) => branches.get(name).map(Vec::as_slice),
            _ => None,
        }
    }
}

impl LoadedWorkflow {
    pub fn new(workflow: Workflow) -> Self {
        let index = WorkflowIndex::new(&workflow);
        Self { workflow, index }
    }

    pub fn step(&self, label: &Label) -> Option<&Step> {
        let place = self.index.places.get(label)?;
        match &place.inside {
            None => self.workflow.steps.get(place.index),
            Some((outer, block)) => self.step(outer)?.instruction.block(block)?.get(place.index),
        }
    }

    /// The first step of the workflow.
    pub fn first(&self) -> Option<&Label> {
        self.workflow.steps.first().map(|s| &s.label)
    }

    /// The first step in a list of the step with this label.
    pub fn first_in(&self, label: &Label, block: &Block) -> Option<&Label> {
        self.step(label)?.instruction.block(block)?.first().map(|s| &s.label)
    }

    /// The step behind it in the same list.
    pub fn next(&self, label: &Label) -> Option<&Label> {
        self.index.places.get(label)?.next.as_ref()
    }

    /// The step that this one is directly inside of, and in which of its lists.
    pub fn inside(&self, label: &Label) -> Option<(&Label, &Block)> {
        self.index.places.get(label)?.inside.as_ref().map(|(outer, block)| (outer, block))
    }

    /// All steps that this one is inside of, the innermost first.
    pub fn enclosing<'a>(&'a self, label: &'a Label) -> impl Iterator<Item = (&'a Label, &'a Block)> {
        std::iter::successors(self.inside(label), |(outer, _)| self.inside(outer))
    }

    /// The fork and its branch that this step is in, the innermost.
    pub fn branch_of<'a>(&'a self, label: &'a Label) -> Option<(&'a Label, &'a BranchName)> {
        self.enclosing(label).find_map(|(outer, block)| match block {
            Block::Branch(branch) => Some((outer, branch)),
            _ => None,
        })
    }

    /// The labels of all steps, sorted.
    pub fn labels(&self) -> impl Iterator<Item = &Label> {
        self.index.places.keys()
    }

    /// All steps, each before those inside it, as they are written.
    pub fn steps(&self) -> Vec<&Step> {
        fn collect<'a>(steps: &'a [Step], all: &mut Vec<&'a Step>) {
            for step in steps {
                all.push(step);
                for (_, inner) in step.instruction.blocks() {
                    collect(inner, all);
                }
            }
        }
        let mut all = Vec::with_capacity(self.index.places.len());
        collect(&self.workflow.steps, &mut all);
        all
    }
}
