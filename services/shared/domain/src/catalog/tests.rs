use super::*;
use crate::{
    Command, Event, Refusal,
    command::{Accepted, Deploy, DeployItem},
    definition::{self, Definition},
    tests::*,
};
use std::sync::Arc;

/// A retention with this title: titles tell versions apart.
fn retention(w: &mut World, name: &str, title: &str) -> DeployItem {
    let item = definition::read("r.yaml", &format!("retention: {name}\ntitle: {title}\n")).unwrap().items.remove(0);
    let Definition::Catalog(body) = item.definition.clone() else { panic!("{:?}", item.definition) };
    w.bodies.catalog.insert(item.hash.clone(), Arc::new(body));
    item.deploy_item()
}

fn deploy(w: &mut World, items: Vec<DeployItem>) -> Result<Accepted, Refusal> {
    w.command(Command::Deploy(Deploy { items }))
}

fn remove(w: &mut World, items: Vec<RemoveItem>) -> Result<Accepted, Refusal> {
    w.command(Command::RemoveDefinitions(RemoveDefinitions { items }))
}

#[test]
fn a_definition_gets_versions_and_goes_on_counting_after_a_removal() {
    let mut w = World::new();
    let (one, two) = (retention(&mut w, "r", "one"), retention(&mut w, "r", "two"));
    let version = |accepted: Accepted| match accepted {
        Accepted::Deployed { items } => items.first().map(|(_, version)| *version),
        other => panic!("{other:?}"),
    };
    assert_eq!(deploy(&mut w, vec![one.clone()]).map(version), Ok(Some(1)));
    assert_eq!(deploy(&mut w, vec![one.clone()]).map(version), Ok(None), "the same is no new version");
    assert_eq!(deploy(&mut w, vec![two.clone()]).map(version), Ok(Some(2)));
    let item = RemoveItem::Definition { kind: DefinitionKind::Retention, name: id("r") };
    remove(&mut w, vec![item.clone()]).unwrap();
    assert_eq!(w.site.definition(DefinitionKind::Retention, &id("r")), None);
    let unknown = Refusal::DefinitionUnknown { kind: DefinitionKind::Retention, name: id("r") };
    assert_eq!(remove(&mut w, vec![item]), Err(unknown));
    assert_eq!(deploy(&mut w, vec![two]).map(version), Ok(Some(3)));
}

#[test]
fn a_body_of_another_name_or_kind_is_refused() {
    let mut w = World::new();
    let DeployItem::Definition { hash, .. } = retention(&mut w, "r", "one") else { panic!() };
    for (kind, name) in [(DefinitionKind::Retention, "s"), (DefinitionKind::Rule, "r")] {
        let item = DeployItem::Definition { kind, name: id(name), hash: hash.clone() };
        let refusal = deploy(&mut w, vec![item]).unwrap_err().to_string();
        assert!(refusal.contains("its body is of retention r"), "{refusal}");
    }
}

#[test]
fn a_workflow_that_is_needed_is_not_removed_and_who_needs_it_is_listed() {
    let mut w = World::new();
    w.deploy(workflow("inner", vec![job("a")]));
    w.deploy(workflow("outer", vec![call("c", "inner", serde_json::json!({}))]));
    let order = w.add("inner");
    let item = |name: &str| RemoveItem::Workflow { name: id(name) };
    let refusal = remove(&mut w, vec![item("inner")]).unwrap_err().to_string();
    assert!(refusal.contains("workflow outer") && refusal.contains(order.as_str()), "{refusal}");
    w.exits(&order, 0);
    assert!(remove(&mut w, vec![item("inner")]).is_err(), "outer calls it still");
    remove(&mut w, vec![item("inner"), item("outer")]).unwrap();
    assert!(w.site.workflows.is_empty());
    assert_eq!(w.add_with("inner", |_| {}), Err(Refusal::WorkflowUnknown { workflow: id("inner") }));
    w.deploy(workflow("inner", vec![job("a")]));
    assert_eq!(w.site.workflows["inner"].version, 2, "its numbers go on");
}

#[test]
fn suspending_and_resuming_a_schedule_can_be_repeated() {
    let mut w = World::new();
    let schedules = || vec![id("s")];
    let suspend = |w: &mut World| w.command(Command::SuspendSchedules(SuspendSchedules { schedules: schedules() }));
    assert!(matches!(suspend(&mut w), Err(Refusal::DefinitionUnknown { .. })));
    let event = DefinitionDeployed {
        kind: DefinitionKind::Schedule,
        name: id("s"),
        version: 1,
        hash: hash_of(&1),
        references: References::default(),
        by: by(),
    };
    w.settle(vec![event.into()]);
    let suspended = |w: &World| w.site.definition(DefinitionKind::Schedule, &id("s")).unwrap().suspended;
    for _ in 0..2 {
        suspend(&mut w).unwrap();
        assert!(suspended(&w));
    }
    for _ in 0..2 {
        w.command(Command::ResumeSchedules(ResumeSchedules { schedules: schedules() })).unwrap();
        assert!(!suspended(&w));
    }
    let changes = w.events.iter().filter(|e| matches!(e, Event::ScheduleSuspended(_) | Event::ScheduleResumed(_)));
    assert_eq!(changes.count(), 2);
}
