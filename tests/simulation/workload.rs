//! Random workflows and commands: small, but every instruction and every operation is among them.

use chrono::NaiveDate;
use ordo_domain::{
    AgentName, BranchName, ContentHash, Kind, Label, LockName, OrderId, Span, Value, VariableName, WorkflowName,
    command::{Command, Deploy, DeployItem},
    lock::LockDefinition,
    order::command::{AddOrders, CancelOrders, NewOrder, Overlap, ResumeOrders, StartKey, SuspendOrders},
    workflow::{
        Action, Expression, Instruction, Job, LateAction, LatePolicy, Parameter, Retry, Step, Template, WhenFailed,
        Workflow,
    },
};
use rand::{Rng, RngExt, rngs::SmallRng};
use std::collections::{BTreeMap, BTreeSet};

pub const AGENTS: [&str; 2] = ["one", "two"];
pub const LOCKS: [(&str, u32); 2] = [("narrow", 1), ("wide", 3)];

pub fn id<T: std::str::FromStr>(text: impl AsRef<str>) -> T
where
    T::Err: std::fmt::Debug,
{
    text.as_ref().parse().expect("a valid id in the simulation")
}

pub fn chance(rng: &mut SmallRng, percent: u32) -> bool {
    rng.random_range(0..100) < percent
}

pub fn pick<'a, T>(rng: &mut SmallRng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

/// Makes one workflow after another, each callable by those that come later.
pub struct Author {
    labels: u32,
    jobs: Vec<String>,
    callable: Vec<WorkflowName>,
    /// Inside a try that retries: neither another one nor a call, else the work multiplies.
    retrying: bool,
}

impl Author {
    pub fn new() -> Self {
        Self { labels: 0, jobs: Vec::new(), callable: Vec::new(), retrying: false }
    }

    /// Another deployment: calls go only to workflows of the same one that came before, so that none calls itself.
    pub fn begin(&mut self) {
        self.callable.clear();
    }

    pub fn workflow(&mut self, rng: &mut SmallRng, name: &str) -> Workflow {
        (self.labels, self.jobs) = (0, Vec::new());
        let steps = self.steps(rng, 0);
        let parameter =
            Parameter { kind: Kind::Number, items: None, default: Some(Value::from(1)), from: None, title: None };
        let blob =
            Parameter { kind: Kind::String, items: None, default: Some(Value::from("")), from: None, title: None };
        let workflow = Workflow {
            name: id(name),
            title: Some(format!("simulated {name}")),
            folder: None,
            tags: BTreeSet::new(),
            zone: None,
            priority: 0,
            late: late(rng),
            parameters: BTreeMap::from([(id("n"), parameter), (id("blob"), blob)]),
            steps,
        };
        self.callable.push(workflow.name.clone());
        workflow
    }

    fn label(&mut self, kind: &str) -> Label {
        self.labels += 1;
        id(format!("{kind}{}", self.labels))
    }

    fn steps(&mut self, rng: &mut SmallRng, depth: u32) -> Vec<Step> {
        (0..rng.random_range(1..=3)).map(|_| self.step(rng, depth)).collect()
    }

    fn step(&mut self, rng: &mut SmallRng, depth: u32) -> Step {
        let roll = if depth >= 3 { 0 } else { rng.random_range(0..100) };
        let (label, instruction) = match roll {
            0..50 => self.job(rng),
            50..60 => {
                let condition = match self.jobs.last() {
                    Some(job) if chance(rng, 60) => format!("{job}.returnCode == 0"),
                    _ => "n > 1".to_owned(),
                };
                let (then, otherwise) = (self.steps(rng, depth + 1), self.some(rng, depth));
                (self.label("if"), Instruction::If { condition: Expression(condition), then, otherwise })
            }
            60..75 => {
                let names = ["a", "b", "c"];
                let count = rng.random_range(1..=3);
                let branches = names[..count].iter().map(|b| (id::<BranchName>(b), self.some(rng, depth))).collect();
                let when_failed = *pick(rng, &[WhenFailed::Join, WhenFailed::Wait, WhenFailed::CancelOthers]);
                (self.label("fork"), Instruction::Fork { branches, when_failed })
            }
            75..90 => {
                let retries = !self.retrying && chance(rng, 80);
                let outer = self.retrying;
                self.retrying = outer || retries;
                let steps = self.steps(rng, depth + 1);
                self.retrying = outer;
                let retry = retries.then(|| Retry {
                    delays: (0..rng.random_range(1..=2))
                        .map(|_| Span::from_millis(rng.random_range(0..4_000)))
                        .collect(),
                    when: chance(rng, 30).then(|| Expression("error.code != \"fail\"".into())),
                });
                let catch = self.some(rng, depth);
                (self.label("try"), Instruction::Try { steps, retry, catch })
            }
            90..95 if !self.callable.is_empty() && !self.retrying => {
                let workflow = pick(rng, &self.callable).clone();
                let arguments = BTreeMap::from([(id::<VariableName>("n"), Value::from("${ n + 1 }"))]);
                (self.label("call"), Instruction::Call { workflow, arguments })
            }
            90..98 => (self.label("fail"), Instruction::Fail { message: Template("as ${ order.id } was told".into()) }),
            _ => (self.label("finish"), Instruction::Finish { message: None }),
        };
        Step { label, instruction }
    }

    fn some(&mut self, rng: &mut SmallRng, depth: u32) -> Vec<Step> {
        if chance(rng, 75) { self.steps(rng, depth + 1) } else { Vec::new() }
    }

    fn job(&mut self, rng: &mut SmallRng) -> (Label, Instruction) {
        let label = self.label("job");
        let text = format!("exit # {label}");
        let hash = ContentHash::of(text.as_bytes());
        let action = match chance(rng, 50) {
            true => Action::Script { text, hash },
            false => Action::Command { arguments: vec![Template("do".into()), Template("${ n }".into())] },
        };
        let lock = || LOCKS.map(|(name, _)| id::<LockName>(name));
        let mut locks = BTreeMap::new();
        if chance(rng, 25) {
            let [narrow, wide] = lock();
            locks.insert(wide, rng.random_range(1..=3));
            if chance(rng, 40) {
                locks.insert(narrow, 1);
            }
        }
        let job = Job {
            agent: id::<AgentName>(pick(rng, &AGENTS)),
            action,
            env: BTreeMap::from([("N".to_owned(), Template("${ n }".into()))]),
            directory: None,
            timeout: chance(rng, 20).then(|| Span::from_secs(3)),
            kill_after: Span::from_secs(1),
            success: BTreeSet::from([0]),
            warning: if chance(rng, 20) { BTreeSet::from([3]) } else { BTreeSet::new() },
            parallel: chance(rng, 20).then(|| rng.random_range(1..=2)),
            restartable: chance(rng, 70),
            locks,
            results: BTreeMap::new(),
        };
        self.jobs.push(label.to_string());
        (label, Instruction::Job(Box::new(job)))
    }
}

fn late(rng: &mut SmallRng) -> LatePolicy {
    match rng.random_range(0..10) {
        0 => LatePolicy { grace: Some(Span::from_secs(2)), then: LateAction::Skip },
        1 => LatePolicy { grace: Some(Span::from_secs(2)), then: LateAction::Fail },
        2 => LatePolicy { grace: Some(Span::from_secs(1)), then: LateAction::Run },
        _ => LatePolicy::default(),
    }
}

/// The commands that make the site ready, with the bodies they name.
pub struct Deployment {
    pub command: Command,
    pub workflows: Vec<Workflow>,
    pub locks: Vec<LockDefinition>,
}

pub fn deployment(workflows: Vec<Workflow>, lock_capacity: impl Fn(u32) -> u32) -> Deployment {
    let locks: Vec<LockDefinition> = LOCKS
        .iter()
        .map(|(name, capacity)| LockDefinition { name: id(name), title: None, capacity: lock_capacity(*capacity) })
        .collect();
    let mut items: Vec<DeployItem> =
        workflows.iter().map(|w| DeployItem::Workflow { name: w.name.clone(), hash: hash_of(w) }).collect();
    items.extend(locks.iter().map(|l| DeployItem::Lock { name: l.name.clone(), hash: hash_of(l) }));
    Deployment { command: Command::Deploy(Deploy { items }), workflows, locks }
}

pub fn hash_of<T: serde::Serialize>(body: &T) -> ContentHash {
    ContentHash::of(&serde_json::to_vec(body).expect("bodies are JSON"))
}

/// What somebody asks next.
pub fn command(
    rng: &mut SmallRng,
    workflows: &[WorkflowName],
    orders: &[OrderId],
    now: ordo_domain::Instant,
) -> Command {
    let some = |rng: &mut SmallRng| -> Vec<OrderId> {
        let count = if orders.is_empty() { 0 } else { rng.random_range(1..=2) };
        (0..count).map(|_| pick(rng, orders).clone()).collect()
    };
    match rng.random_range(0..100) {
        0..55 => {
            let count = if chance(rng, 4) { rng.random_range(101..=120) } else { rng.random_range(1..=4) };
            Command::AddOrders(AddOrders { orders: (0..count).map(|_| new_order(rng, workflows, now)).collect() })
        }
        55..70 => {
            Command::CancelOrders(CancelOrders { orders: some(rng), kill: rng.random(), replan: chance(rng, 20) })
        }
        70..82 => Command::SuspendOrders(SuspendOrders { orders: some(rng), kill: rng.random() }),
        _ => Command::ResumeOrders(ResumeOrders { orders: some(rng), position: None }),
    }
}

fn new_order(rng: &mut SmallRng, workflows: &[WorkflowName], now: ordo_domain::Instant) -> NewOrder {
    let due_at = chance(rng, 30).then(|| now + chrono::TimeDelta::milliseconds(rng.random_range(-4_000..8_000)));
    // Planned ones come in few series, so that they are in each other's way; a start that is known is refused.
    let start = chance(rng, 30).then(|| StartKey {
        schedule: format!("s{}", rng.random_range(0..3)),
        parameterisation: "p".to_owned(),
        instant: now + chrono::TimeDelta::milliseconds(rng.random_range(0..50_000)),
    });
    NewOrder {
        workflow: pick(rng, workflows).clone(),
        name: None,
        arguments: if chance(rng, 3) {
            // Some of these together are more than a commit holds.
            BTreeMap::from([(id("blob"), Value::String("x".repeat(rng.random_range(10_000..60_000))))])
        } else if chance(rng, 50) {
            BTreeMap::from([(id("n"), Value::from(rng.random_range(0..4_i64)))])
        } else {
            BTreeMap::new()
        },
        title: None,
        tags: BTreeSet::new(),
        business_day: chance(rng, 20).then(|| NaiveDate::from_ymd_opt(2026, 11, 23).expect("a day")),
        due_at,
        held: chance(rng, 10),
        priority: chance(rng, 20).then(|| rng.random_range(-2..3)),
        late: None,
        overlap: *pick(rng, &[Overlap::Start, Overlap::Skip, Overlap::Wait]),
        start,
    }
}

/// A random number generator of one seed.
pub fn rng(seed: u64) -> SmallRng {
    use rand::SeedableRng;
    SmallRng::seed_from_u64(seed)
}

/// Fresh ids for the engines, from the seed.
pub struct SimulatedIds(pub std::cell::RefCell<SmallRng>);

impl ordo_domain::Ids for SimulatedIds {
    fn run_id(&self) -> ordo_domain::RunId {
        let mut rng = self.0.borrow_mut();
        ordo_domain::RunId::from_bits((u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64()))
    }
}
