use crate::{
    Event, Refusal,
    command::{Accepted, Command, Deploy, DeployItem},
    ctx::LoadedWorkflow,
    lock::LockDefinition,
    tests::*,
    workflow::{Block, WhenFailed},
};
use serde_json::json;

#[test]
fn the_index_knows_where_every_step_is() {
    let inner = fork("f", WhenFailed::Join, vec![("x", vec![job("p"), job("q")]), ("y", vec![])]);
    let block = try_catch("t", vec![if_else("i", "true", vec![inner], vec![job("e")])], None, vec![job("c")]);
    let loaded = LoadedWorkflow::new(workflow("w", vec![job("a"), block, job("z")]));
    let label = |l: &str| id::<crate::Label>(l);
    assert_eq!(loaded.first(), Some(&label("a")));
    assert_eq!(loaded.next(&label("t")), Some(&label("z")));
    assert_eq!(loaded.next(&label("z")), None);
    assert_eq!(loaded.next(&label("p")), Some(&label("q")));
    assert_eq!(loaded.inside(&label("c")), Some((&label("t"), &Block::Catch)));
    assert_eq!(loaded.inside(&label("e")), Some((&label("i"), &Block::Otherwise)));
    assert_eq!(loaded.first_in(&label("f"), &Block::Branch(id("x"))), Some(&label("p")));
    assert_eq!(loaded.first_in(&label("f"), &Block::Branch(id("y"))), None);
    assert_eq!(loaded.branch_of(&label("q")), Some((&label("f"), &id("x"))));
    assert_eq!(loaded.branch_of(&label("e")), None);
    let outward: Vec<_> = loaded.enclosing(&label("q")).map(|(l, _)| l.as_str().to_owned()).collect();
    assert_eq!(outward, ["f", "i", "t"]);
    for step in loaded.steps() {
        assert_eq!(loaded.step(&step.label), Some(step));
    }
    assert_eq!(loaded.steps().len(), loaded.labels().count());
}

#[test]
fn deploying_makes_versions_and_the_same_again_makes_none() {
    let mut w = World::new();
    let first = workflow("w", vec![job("a")]);
    w.deploy(first.clone());
    assert_eq!(w.try_deploy(vec![first.clone()], vec![]), Ok(Accepted::Deployed { items: vec![] }));
    w.deploy(workflow("w", vec![job("b")]));
    w.deploy(first);
    assert_eq!((w.site.workflows["w"].version, w.site.workflows["w"].versions.len()), (3, 3));
}

#[test]
fn running_orders_stay_on_their_version() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![job("a"), job("b")]));
    let o = w.add("w");
    w.deploy(workflow("w", vec![job("a"), job("c")]));
    w.exits(&o, 0);
    assert_eq!((w.position(&o).as_str(), w.order(&o).workflow.version), ("b", 1));
}

#[test]
fn a_deployment_is_all_or_nothing() {
    let mut w = World::new();
    let good = workflow("good", vec![job("a")]);
    let bad = workflow("bad", vec![call("c", "nowhere", json!({}))]);
    let refused = w.try_deploy(vec![good, bad], vec![]);
    assert!(matches!(refused, Err(Refusal::DefinitionInvalid { .. })), "{refused:?}");
    assert!(w.site.workflows.is_empty());
}

#[test]
fn a_deployment_may_use_what_it_brings_along() {
    let mut w = World::new();
    let lock = LockDefinition { name: id("x"), title: None, capacity: 2 };
    let caller = workflow("a", vec![call("c", "b", json!({}))]);
    let called = workflow("b", vec![job_with("j", |j| j.locks = [(id("x"), 2)].into())]);
    w.try_deploy(vec![caller, called], vec![lock]).unwrap();
    let names: Vec<_> =
        w.events.iter().filter(|e| matches!(e, Event::LockDeployed(_) | Event::WorkflowDeployed(_))).collect();
    assert!(matches!(names[..], [Event::LockDeployed(_), Event::WorkflowDeployed(_), Event::WorkflowDeployed(_)]));
}

#[test]
fn unknown_and_too_small_locks_are_refused() {
    let mut w = World::new();
    let wants = |weight| workflow("w", vec![job_with("j", |j| j.locks = [(id("x"), weight)].into())]);
    assert!(matches!(w.try_deploy(vec![wants(1)], vec![]), Err(Refusal::LockUnknown { .. })));
    w.lock("x", 2);
    assert!(matches!(w.try_deploy(vec![wants(3)], vec![]), Err(Refusal::DefinitionInvalid { .. })));
    w.deploy(wants(2));
}

#[test]
fn bodies_must_be_there_and_of_that_name() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![job("a")]));
    let hash = w.site.workflows["w"].hash.clone();
    let mut deploy = |items| w.command(Command::Deploy(Deploy { items }));
    let other = DeployItem::Workflow { name: id("other"), hash: hash.clone() };
    assert!(matches!(deploy(vec![other]), Err(Refusal::DefinitionInvalid { .. })));
    let missing = DeployItem::Workflow { name: id("w"), hash: hash_of(&"nothing") };
    assert!(matches!(deploy(vec![missing]), Err(Refusal::DefinitionInvalid { .. })));
    let item = DeployItem::Workflow { name: id("w"), hash };
    assert!(matches!(deploy(vec![item.clone(), item]), Err(Refusal::DefinitionInvalid { .. })));
    assert!(matches!(deploy(vec![]), Err(Refusal::Empty { .. })));
}

#[test]
fn an_agent_is_added_once() {
    let mut w = World::new();
    let add = || Command::AddAgent(crate::agent::AddAgent { agent: id("etl"), title: None });
    assert!(matches!(w.command(add()), Err(Refusal::AgentExists { .. })));
}
