//! One event of each variant with every field filled, and the pieces that they are made of.

use ordo_domain::{
    Event, Failure, Instant, Outcome, Span, Value,
    agent::{AgentAdded, AgentReady, AgentStopped},
    catalog::{
        DefinitionDeployed, DefinitionKind, DefinitionRemoved, References, ScheduleResumed, ScheduleSuspended,
        StartNotPlanned, StartSkipped, WorkflowRemoved,
    },
    command::{Accepted, By, DeployItem},
    controller::{
        CommandAccepted, CommandFailed, CommandRefused, ControllerActivated, ControllerHandedOver, RoleHeld,
        StateDigest,
    },
    definition::WorkflowDeployed,
    failure::Failure::ExitCode,
    lock::{LockDefinition, LockDeployed},
    order::{
        command::{Overlap, StartKey},
        event::*,
    },
    refusal::Refusal,
    run::{JobSpec, RunEnd, RunFacts, event::*, report, spec::SpecAction},
    value::EnvValue,
    workflow::{LateAction, LatePolicy, WhenFailed},
};
use std::{collections::BTreeMap, fmt::Debug, str::FromStr};

pub const ORDER: &str = "20261122-D1-w";
pub const RUN: &str = "000102030405060708090a0b0c0d0e0f";
pub const OTHER_RUN: &str = "ffffffffffffffffffffffffffffffff";

pub fn id<T: FromStr>(text: &str) -> T
where
    T::Err: Debug,
{
    text.parse().unwrap()
}

pub fn at(second: u32) -> Instant {
    format!("2026-11-22T10:00:{second:02}Z").parse().unwrap()
}

pub fn by() -> By {
    By { user: id("ops"), reason: Some("monthly close".into()) }
}

pub fn workflow_ref() -> WorkflowRef {
    WorkflowRef { name: id("w"), version: 1, hash: id(&"a".repeat(64)) }
}

pub fn facts(end: RunEnd) -> RunFacts {
    RunFacts {
        end,
        started_at: Some(at(3)),
        ended_at: at(4),
        usage: report::Usage { cpu_user_ms: 12, cpu_system_ms: 3, memory_peak_bytes: 4096 },
        output: report::OutputSummary { bytes: 20, lines: 2, kept_bytes: 20, chunks: 1 },
        results: BTreeMap::from([(id("rows"), Value::from(12))]),
        results_error: None,
    }
}

pub fn spec() -> JobSpec {
    JobSpec {
        action: SpecAction::Command { arguments: vec!["./load".into(), "east".into()] },
        env: BTreeMap::from([
            ("DAY".into(), EnvValue::Text("2026-11-22".into())),
            ("DB".into(), EnvValue::Secret { secret: id("sales-db") }),
        ]),
        directory: Some("/data".into()),
        timeout: Some(Span::from_secs(1800)),
        kill_after: Span::from_secs(15),
        results: BTreeMap::from([(id("rows"), ordo_domain::Kind::Number)]),
    }
}

pub fn demands() -> Vec<Demand> {
    vec![
        Demand { resource: Resource::Lock(id("x")), weight: 1 },
        Demand { resource: Resource::Job { workflow: id("w"), job: id("a") }, weight: 1 },
    ]
}

pub fn failure() -> Failure {
    ExitCode { return_code: 1 }
}

pub fn start() -> StartKey {
    StartKey { schedule: "nightly".into(), parameterisation: "all".into(), instant: at(30) }
}

pub fn added() -> OrderAdded {
    OrderAdded {
        order: id(ORDER),
        workflow: workflow_ref(),
        title: Some("売上の夜間集計".into()),
        folder: Some("finance/sales".into()),
        tags: ["finance".to_owned()].into(),
        business_day: "2026-11-22".parse().unwrap(),
        priority: 5,
        due_at: Some(at(30)),
        held: false,
        late: LatePolicy { grace: Some(Span::from_secs(7200)), then: LateAction::Skip },
        arguments: BTreeMap::from([
            (id("day"), "2026-11-22".into()),
            (id("regions"), Value::List(vec!["east".into()])),
        ]),
        start: Some(start()),
        overlap: Overlap::Wait,
        by: by(),
        counter: 1,
        command: Some(id("c1")),
    }
}

pub fn children() -> Vec<Child> {
    let call = Called {
        workflow: WorkflowRef { name: id("other"), version: 3, hash: id(&"b".repeat(64)) },
        title: Some("Other".into()),
        folder: Some("finance".into()),
        arguments: BTreeMap::from([(id("n"), Value::from(2))]),
    };
    vec![
        Child { order: id(&format!("{ORDER}:p")), branch: id("p"), position: Some(id("a:p/j")), call: None },
        Child { order: id(&format!("{ORDER}:q")), branch: id("q"), position: Some(id("k")), call: Some(call) },
    ]
}

/// All variants, in the order of their names' list.
pub fn all() -> Vec<Event> {
    let mut all = orders();
    all.extend(runs());
    all.extend(of_the_site());
    all
}

fn orders() -> Vec<Event> {
    let order = || id(ORDER);
    vec![
        added().into(),
        OrderWaits { order: order(), earlier: id("20261121-P1-w") }.into(),
        OrderStarted { order: order(), position: id("a"), late_by: Some(Span::from_secs(90)) }.into(),
        OrderMoved { order: order(), to: id("b"), left: vec![id("t")] }.into(),
        OrderTried { order: order(), block: id("a"), to: id("b") }.into(),
        OrderQueued { order: order(), position: id("a"), resources: demands() }.into(),
        OrderForked { order: order(), position: id("a"), when_failed: WhenFailed::CancelOthers, children: children() }
            .into(),
        OrderJoined { order: order(), position: id("a"), outcome: Outcome::Succeeded }.into(),
        OrderCaught {
            order: order(),
            block: id("t"),
            failed_at: id("a"),
            failure: failure(),
            to: id("c"),
            left: vec![id("inner")],
        }
        .into(),
        OrderRetrying {
            order: order(),
            block: id("t"),
            failed_at: id("a"),
            failure: failure(),
            attempt: 2,
            until: at(50),
            to: id("a"),
            left: vec![id("inner")],
        }
        .into(),
        OrderAwoke { order: order() }.into(),
        OrderFailed { order: order(), position: Some(id("a")), failure: failure() }.into(),
        OrderFinished { order: order(), message: Some("nothing to load".into()) }.into(),
        OrderCancelRequested { order: order(), kill: true }.into(),
        OrderCancelled { order: order(), reason: CancelReason::Late { late_by: Span::from_secs(9000) } }.into(),
        OrderSuspendRequested { order: order(), kill: true }.into(),
        OrderSuspended { order: order() }.into(),
        OrderResumed { order: order(), to: Some(id("a")), left: vec![id("t")] }.into(),
        OrdersForgotten { orders: vec![order()] }.into(),
    ]
}

fn runs() -> Vec<Event> {
    vec![
        RunDispatched {
            run: id(RUN),
            order: id(ORDER),
            position: id("a"),
            job: id("a"),
            agent: id("etl"),
            attempt: 1,
            resources: demands(),
            spec: spec(),
        }
        .into(),
        RunClaimed { run: id(RUN), instance: id("i1") }.into(),
        RunKillRequested { run: id(RUN) }.into(),
        RunEnded {
            run: id(RUN),
            order: id(ORDER),
            position: id("a"),
            facts: facts(RunEnd::Exited { code: 4 }),
            outcome: Some(Outcome::Warning { return_code: 4 }),
        }
        .into(),
        ReportRefused {
            agent: id("etl"),
            instance: id("i2"),
            run: Some(id(RUN)),
            reason: ReportRefusal::Malformed { reason: "not JSON".into() },
        }
        .into(),
    ]
}

fn of_the_site() -> Vec<Event> {
    let lock = LockDefinition { name: id("x"), title: Some("Sales".into()), capacity: 1 };
    let item = DeployItem::Workflow { name: id("w"), hash: id(&"a".repeat(64)) };
    let outcome = Accepted::Deployed { items: vec![(item, 1)] };
    vec![
        WorkflowDeployed { workflow: id("w"), version: 1, hash: id(&"a".repeat(64)), by: by() }.into(),
        WorkflowRemoved { workflow: id("w"), by: by() }.into(),
        LockDeployed { version: 1, hash: id(&"c".repeat(64)), lock }.into(),
        DefinitionDeployed {
            kind: DefinitionKind::Schedule,
            name: id("nightly"),
            version: 2,
            hash: id(&"e".repeat(64)),
            references: References { workflows: [id("w")].into(), agents: [id("etl")].into() },
            by: by(),
        }
        .into(),
        DefinitionRemoved { kind: DefinitionKind::Rule, name: id("failures"), by: by() }.into(),
        ScheduleSuspended { schedule: id("nightly"), by: by() }.into(),
        ScheduleResumed { schedule: id("nightly"), by: by() }.into(),
        StartSkipped {
            start: start(),
            workflow: id("w"),
            until: Some(at(50)),
            count: 3,
            reason: "more than 1,000 starts were missed".into(),
        }
        .into(),
        StartNotPlanned {
            schedule: id("nightly"),
            workflow: id("w"),
            start: Some(start()),
            reason: "parameter day is missing".into(),
        }
        .into(),
        AgentAdded { agent: id("etl"), title: Some("Loads".into()), by: by() }.into(),
        AgentReady { agent: id("etl"), instance: id("i1"), node: id("node-a"), version: "0.1.0".into() }.into(),
        AgentStopped { agent: id("etl"), instance: id("i1") }.into(),
        ControllerActivated { epoch: 2, instance: id("c1"), how: "hand-over".into(), event_level: 1 }.into(),
        ControllerHandedOver { epoch: 2, from: id("c1"), to: Some(id("c2")) }.into(),
        RoleHeld { instance: id("c1"), who: "ops".into(), why: "repair".into() }.into(),
        CommandAccepted { command: id("c1"), outcome }.into(),
        CommandRefused { command: Some(id("c2")), refusal: Refusal::WorkflowUnknown { workflow: id("nothing") } }
            .into(),
        CommandFailed {
            command: Some(id("c3")),
            order: None,
            failure: Failure::Internal { reason: "panicked twice".into() },
        }
        .into(),
        StateDigest { decisions: 10_000, hash: "d".repeat(64) }.into(),
    ]
}
