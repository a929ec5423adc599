use crate::{
    Failure, Refusal,
    order::OrderState,
    run::{Report, RunEnd, spec::SpecAction},
    tests::*,
    workflow::{Template, WhenFailed},
};
use chrono::TimeDelta;
use serde_json::json;

#[test]
fn an_order_runs_its_jobs_one_after_the_other() {
    let mut w = World::new();
    w.deploy(workflow("two", vec![job("a"), job("b")]));
    let o = w.add("two");
    assert_eq!((w.state(&o), w.position(&o).as_str()), ("running", "a"));
    w.exits(&o, 0);
    assert_eq!((w.state(&o), w.position(&o).as_str()), ("running", "b"));
    w.exits(&o, 0);
    assert_eq!(w.state(&o), "finished");
    assert_eq!(w.site.ended, [o]);
}

#[test]
fn an_empty_workflow_finishes_at_once() {
    let mut w = World::new();
    w.deploy(workflow("none", vec![]));
    let o = w.add("none");
    assert_eq!(w.state(&o), "finished");
}

#[test]
fn a_condition_chooses_one_list_of_steps_and_goes_on_behind() {
    let mut w = World::new();
    let choose = if_else("choose", "a.returnCode == 3", vec![job("three")], vec![job("other")]);
    w.deploy(workflow("w", vec![job_with("a", |j| j.success = [0, 3].into()), choose, job("last")]));
    let (three, other) = (w.add("w"), w.add("w"));
    w.exits(&three, 3);
    w.exits(&other, 0);
    assert_eq!((w.position(&three).as_str(), w.position(&other).as_str()), ("three", "other"));
    w.exits(&three, 0);
    assert_eq!(w.position(&three), "last");
}

#[test]
fn an_empty_list_of_a_condition_is_passed_over_up_to_the_end() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![if_else("if", "false", vec![job("a")], vec![])]));
    let o = w.add("w");
    assert_eq!(w.state(&o), "finished");
}

#[test]
fn a_broken_condition_fails_the_order() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![if_else("if", "order.attempt / 0 == 1", vec![job("a")], vec![])]));
    let o = w.add("w");
    assert!(matches!(w.order(&o).state, OrderState::Failed { failure: Failure::Expression { .. } }));
}

#[test]
fn a_warning_code_lets_the_order_go_on() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![job_with("a", |j| j.warning = [4].into()), job("b")]));
    let o = w.add("w");
    w.exits(&o, 4);
    assert_eq!(w.position(&o), "b");
    assert_eq!(w.order(&o).results["a"].return_code, 4);
}

#[test]
fn results_reach_later_steps_and_a_missing_one_fails_the_step() {
    let mut w = World::new();
    let extract = job_with("extract", |j| j.results = serde_json::from_value(json!({"rows": "number"})).unwrap());
    let load = job_with("load", |j| {
        j.action = crate::workflow::Action::Command { arguments: vec![Template("${ extract.rows } rows".into())] };
    });
    w.deploy(workflow("w", vec![extract, load]));
    let (good, bad) = (w.add("w"), w.add("w"));
    w.ends_with(&good, RunEnd::Exited { code: 0 }, json!({"rows": 12}));
    let run = w.run_of(&good);
    let crate::run::RunState::Dispatched { spec } = &w.site.runs[&run].state else { panic!() };
    assert_eq!(spec.action, SpecAction::Command { arguments: vec!["12 rows".into()] });
    w.exits(&bad, 0);
    assert!(matches!(w.order(&bad).state, OrderState::Failed { failure: Failure::Result { .. } }));
}

#[test]
fn results_of_a_wrong_kind_and_too_large_ones_fail_the_step() {
    let mut w = World::new();
    let results = json!({"rows": "number", "text": "string"});
    w.deploy(workflow("w", vec![job_with("a", |j| j.results = serde_json::from_value(results).unwrap())]));
    let (kind, size, undeclared) = (w.add("w"), w.add("w"), w.add("w"));
    w.ends_with(&kind, RunEnd::Exited { code: 0 }, json!({"rows": "12", "text": ""}));
    w.ends_with(&size, RunEnd::Exited { code: 0 }, json!({"rows": 1, "text": "x".repeat(20_000)}));
    w.ends_with(&undeclared, RunEnd::Exited { code: 0 }, json!({"rows": 1, "text": "", "more": 1}));
    for order in [kind, size, undeclared] {
        assert!(matches!(w.order(&order).state, OrderState::Failed { failure: Failure::Result { .. } }));
        assert!(w.order(&order).results["a"].values.is_empty());
    }
}

#[test]
fn a_secret_reaches_the_job_as_a_reference_and_cannot_be_given() {
    let mut w = World::new();
    let mut secret =
        workflow("w", vec![job_with("a", |j| j.env = [("DB".to_owned(), Template("${ db }".into()))].into())]);
    secret.parameters.insert(id("db"), parameter(json!({"type": "secret", "from": "sales-db"})));
    w.deploy(secret);
    let o = w.add("w");
    let run = w.run_of(&o);
    let crate::run::RunState::Dispatched { spec } = &w.site.runs[&run].state else { panic!() };
    assert_eq!(serde_json::to_value(&spec.env).unwrap(), json!({"DB": {"secret": "sales-db"}}));
    assert!(w.order(&o).arguments.is_empty());
    let refused = w.add_with("w", |o| o.arguments = [(id("db"), "x".into())].into());
    assert!(matches!(refused, Err(Refusal::ParameterInvalid { .. })), "{refused:?}");
}

#[test]
fn a_job_message_beyond_the_limit_fails_the_step() {
    let mut w = World::new();
    let mut large = workflow("w", vec![job_with("a", |j| j.directory = Some(Template("${ x }".into())))]);
    large.parameters.insert(id("x"), parameter(json!({"type": "string"})));
    w.deploy(large);
    let o = w.add_with("w", |o| o.arguments = [(id("x"), "y".repeat(40_000).as_str().into())].into()).unwrap();
    assert!(matches!(w.order(&o).state, OrderState::Failed { failure: Failure::JobTooLarge { .. } }));
}

#[test]
fn a_fork_joins_when_all_branches_have_finished_and_hands_up_their_results() {
    let mut w = World::new();
    let rows =
        |label: &str| job_with(label, |j| j.results = serde_json::from_value(json!({"rows": "number"})).unwrap());
    let branches = vec![("east", vec![rows("a")]), ("west", vec![rows("b")])];
    w.deploy(workflow(
        "w",
        vec![
            fork("loads", WhenFailed::Join, branches),
            if_else("sum", "a.rows + b.rows == 5", vec![job("yes")], vec![]),
        ],
    ));
    let o = w.add("w");
    let (east, west) = (w.child(&o, "east"), w.child(&o, "west"));
    assert_eq!(w.position(&west), "loads:west/b");
    w.ends_with(&east, RunEnd::Exited { code: 0 }, json!({"rows": 2}));
    assert_eq!((w.state(&o), w.state(&east)), ("forked", "finished"));
    w.ends_with(&west, RunEnd::Exited { code: 0 }, json!({"rows": 3}));
    assert_eq!(w.position(&o), "yes");
    assert!(!w.site.orders.contains_key(&east));
}

#[test]
fn branches_see_what_their_order_knows() {
    let mut w = World::new();
    let see = if_else("see", "a.returnCode == 3", vec![job("yes")], vec![]);
    let branches = vec![("b", vec![fork("inner", WhenFailed::Join, vec![("c", vec![see])])])];
    w.deploy(workflow("w", vec![job_with("a", |j| j.success = [3].into()), fork("f", WhenFailed::Join, branches)]));
    let o = w.add("w");
    w.exits(&o, 3);
    let leaf = w.child(&w.child(&o, "b"), "c");
    assert_eq!(w.position(&leaf), "f:b/inner:c/yes");
    w.exits(&leaf, 0);
    assert_eq!(w.state(&o), "finished");
}

#[test]
fn an_empty_branch_is_finished_at_once() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![fork("f", WhenFailed::Join, vec![("a", vec![]), ("b", vec![job("j")])])]));
    let o = w.add("w");
    w.exits(&w.child(&o, "b"), 0);
    assert_eq!(w.state(&o), "finished");
}

#[test]
fn a_failed_branch_fails_the_fork_after_the_others_have_ended() {
    let mut w = World::new();
    let branches = vec![("a", vec![job("x")]), ("b", vec![job("y"), job("z")])];
    w.deploy(workflow("w", vec![fork("f", WhenFailed::Join, branches)]));
    let o = w.add("w");
    w.exits(&w.child(&o, "a"), 1);
    assert_eq!(w.state(&o), "forked");
    assert!(matches!(w.resume(&w.child(&o, "a")), Err(Refusal::OrderIsChild { .. })));
    w.exits(&w.child(&o, "b"), 0);
    w.exits(&w.child(&o, "b"), 0);
    assert!(
        matches!(&w.order(&o).state, OrderState::Failed { failure: Failure::BranchFailed { branch, .. } } if branch.as_str() == "a")
    );
}

#[test]
fn a_fork_that_is_entered_again_has_new_branch_ids() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![fork("f", WhenFailed::Join, vec![("a", vec![job("x")])])]));
    let o = w.add("w");
    w.exits(&w.child(&o, "a"), 1);
    w.resume(&o).unwrap();
    w.exits(&w.child(&o, "a-2"), 1);
    w.resume(&o).unwrap();
    w.exits(&w.child(&o, "a-3"), 0);
    assert_eq!(w.state(&o), "finished");
}

#[test]
fn a_fork_that_waits_keeps_the_failed_branch_to_be_resumed_or_cancelled() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![fork("f", WhenFailed::Wait, vec![("a", vec![job("x")]), ("b", vec![job("y")])])]));
    let (resumed, cancelled) = (w.add("w"), w.add("w"));
    for o in [&resumed, &cancelled] {
        w.exits(&w.child(o, "b"), 0);
        w.exits(&w.child(o, "a"), 1);
        assert_eq!(w.state(o), "forked");
        let waits = w.site.explain(o, w.now);
        assert!(matches!(waits[..], [crate::order::Wait::BranchFailed { .. }]), "{waits:?}");
    }
    w.resume(&w.child(&resumed, "a")).unwrap();
    w.exits(&w.child(&resumed, "a"), 0);
    assert_eq!(w.state(&resumed), "finished");
    w.cancel(&w.child(&cancelled, "a"), false).unwrap();
    assert!(matches!(w.order(&cancelled).state, OrderState::Failed { failure: Failure::BranchCancelled { .. } }));
}

#[test]
fn a_fork_that_cancels_others_kills_their_jobs_and_fails() {
    let mut w = World::new();
    let branches = vec![("a", vec![job("x")]), ("b", vec![job("y"), job("z")]), ("c", vec![job("sent")])];
    w.deploy(workflow("w", vec![fork("f", WhenFailed::CancelOthers, branches)]));
    let o = w.add("w");
    let (b, c) = (w.child(&o, "b"), w.child(&o, "c"));
    let claimed = w.claim(&b);
    w.exits(&w.child(&o, "a"), 1);
    assert!(w.site.runs[&claimed].kill_requested);
    w.ends(&b, RunEnd::Killed);
    assert_eq!((w.state(&o), w.state(&b)), ("forked", "cancelled"));
    let run = w.run_of(&c);
    w.report("etl", "c1", Report::Refused { run });
    assert!(matches!(w.order(&o).state, OrderState::Failed { failure: Failure::BranchFailed { .. } }));
}

#[test]
fn finish_in_a_branch_ends_that_branch_only() {
    let mut w = World::new();
    let branches = vec![("a", vec![finish("enough", "done at ${ order.id }"), job("never")]), ("b", vec![job("y")])];
    w.deploy(workflow("w", vec![fork("f", WhenFailed::Join, branches), job("last")]));
    let o = w.add("w");
    assert_eq!((w.state(&w.child(&o, "a")), w.state(&o)), ("finished", "forked"));
    w.exits(&w.child(&o, "b"), 0);
    assert_eq!(w.position(&o), "last");
}

#[test]
fn fail_in_a_try_block_is_caught_and_its_message_is_the_error() {
    let mut w = World::new();
    let see = if_else(
        "see",
        "error.message == 'no rows' && error.label == 'stop' && error.code == 'fail'",
        vec![job("yes")],
        vec![],
    );
    w.deploy(workflow("w", vec![try_catch("t", vec![fail("stop", "no rows")], None, vec![see]), job("last")]));
    let o = w.add("w");
    assert_eq!(w.position(&o), "yes");
    w.exits(&o, 0);
    assert_eq!(w.position(&o), "last");
    assert!(w.order(&o).tries.is_empty());
}

#[test]
fn the_error_is_seen_from_a_fork_inside_catch_steps() {
    let mut w = World::new();
    let see = if_else("see", "error.returnCode == 7", vec![job("yes")], vec![]);
    let catch = vec![fork("f", WhenFailed::Join, vec![("b", vec![see])])];
    w.deploy(workflow("w", vec![try_catch("t", vec![job("a")], None, catch)]));
    let o = w.add("w");
    w.exits(&o, 7);
    assert_eq!(w.position(&w.child(&o, "b")), "f:b/yes");
}

#[test]
fn a_try_block_alone_may_fail() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![try_catch("t", vec![job("a"), job("b")], None, vec![]), job("last")]));
    let o = w.add("w");
    w.exits(&o, 1);
    assert_eq!(w.position(&o), "last");
    assert!(w.order(&o).tries.is_empty());
}

#[test]
fn a_try_block_alone_at_the_end_finishes() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![try_catch("t", vec![job("a")], None, vec![])]));
    let o = w.add("w");
    w.exits(&o, 1);
    assert_eq!(w.state(&o), "finished");
}

#[test]
fn retries_wait_their_delays_and_then_the_failure_goes_outward() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![try_catch("t", vec![job("a")], Some(&[10, 60]), vec![])]));
    let o = w.add("w");
    w.exits(&o, 1);
    assert_eq!(w.state(&o), "retrying");
    let waits = w.site.explain(&o, w.now);
    assert_eq!(waits[0].to_string(), "retry delay until 2026-11-22 10:00:10 UTC, attempt 2, after: exit code 1");
    w.pass(TimeDelta::seconds(9));
    assert_eq!(w.state(&o), "retrying");
    w.pass(TimeDelta::seconds(1));
    assert_eq!(w.state(&o), "running");
    assert_eq!(w.site.runs[&w.run_of(&o)].attempt, 2);
    w.exits(&o, 1);
    w.pass(TimeDelta::seconds(60));
    assert_eq!(w.site.runs[&w.run_of(&o)].attempt, 3);
    w.exits(&o, 1);
    assert!(matches!(w.order(&o).state, OrderState::Failed { failure: Failure::ExitCode { return_code: 1 } }));
    w.resume(&o).unwrap();
    w.exits(&o, 1);
    assert_eq!(w.state(&o), "retrying", "a person's resume gives the block its attempts again");
}

#[test]
fn a_retry_condition_decides_and_catch_runs_when_it_does_not_hold() {
    let mut w = World::new();
    let block = try_when(
        "t",
        vec![job("load")],
        &[10],
        "load.returnCode in [75, 111] && error.code == 'exit_code'",
        vec![job("tidy")],
    );
    w.deploy(workflow("w", vec![block]));
    let (again, not) = (w.add("w"), w.add("w"));
    w.exits(&again, 75);
    assert_eq!(w.state(&again), "retrying");
    w.exits(&not, 1);
    assert_eq!(w.position(&not), "tidy");
}

#[test]
fn a_broken_retry_condition_is_what_catch_sees() {
    let mut w = World::new();
    let see = if_else("see", "error.code == 'expression'", vec![job("yes")], vec![]);
    w.deploy(workflow("w", vec![try_when("t", vec![job("a")], &[10], "1 / 0 == 1", vec![see])]));
    let o = w.add("w");
    w.exits(&o, 1);
    assert_eq!(w.position(&o), "yes");
}

#[test]
fn a_retry_resets_the_blocks_inside() {
    let mut w = World::new();
    let inner = try_catch("inner", vec![job("a")], Some(&[1]), vec![]);
    w.deploy(workflow("w", vec![try_catch("outer", vec![inner], Some(&[5]), vec![])]));
    let o = w.add("w");
    for delay in [1, 5, 1] {
        w.exits(&o, 1);
        assert_eq!(w.state(&o), "retrying");
        w.pass(TimeDelta::seconds(delay));
    }
    assert_eq!(w.site.runs[&w.run_of(&o)].attempt, 4);
    w.exits(&o, 1);
    assert_eq!(w.state(&o), "failed");
}

#[test]
fn a_failure_in_catch_steps_goes_outward() {
    let mut w = World::new();
    let inner = try_catch("inner", vec![job("a")], Some(&[1]), vec![job("tidy")]);
    w.deploy(workflow("w", vec![try_catch("outer", vec![inner], None, vec![job("alarm")])]));
    let o = w.add("w");
    w.exits(&o, 1);
    w.pass(TimeDelta::seconds(1));
    w.exits(&o, 1);
    assert_eq!(w.position(&o), "tidy");
    w.exits(&o, 2);
    assert_eq!(w.position(&o), "alarm");
    assert_eq!(w.order(&o).tries.keys().map(|l| l.as_str()).collect::<Vec<_>>(), ["outer"]);
    w.exits(&o, 2);
    assert_eq!(w.state(&o), "failed");
}

#[test]
fn a_failed_fork_is_tried_again_as_a_whole() {
    let mut w = World::new();
    let f = fork("f", WhenFailed::Join, vec![("a", vec![job("x")])]);
    w.deploy(workflow("w", vec![try_catch("t", vec![f], Some(&[1]), vec![])]));
    let o = w.add("w");
    w.exits(&w.child(&o, "a"), 1);
    w.pass(TimeDelta::seconds(1));
    w.exits(&w.child(&o, "a-2"), 0);
    assert_eq!(w.state(&o), "finished");
}

#[test]
fn a_call_runs_the_other_workflow_with_its_own_arguments() {
    let mut w = World::new();
    let mut inner = workflow("inner", vec![if_else("see", "n == 2 && day == '2026-11-22'", vec![job("yes")], vec![])]);
    inner.parameters.insert(id("n"), parameter(json!({"type": "number"})));
    inner.parameters.insert(id("day"), parameter(json!({"type": "string", "default": "${ order.business_day }"})));
    w.deploy(inner);
    let first = job_with("a", |j| j.success = [2].into());
    w.deploy(workflow(
        "outer",
        vec![
            first,
            call("c", "inner", json!({"n": "${ a.returnCode }"})),
            if_else("if", "c.returnCode == 0", vec![job("last")], vec![]),
        ],
    ));
    let o = w.add("outer");
    w.exits(&o, 2);
    let child = w.child(&o, "c");
    assert_eq!((w.position(&child).as_str(), w.order(&child).workflow.name.as_str()), ("yes", "inner"));
    // A new version of it changes nothing for the running call.
    let mut newer = workflow("inner", vec![job("other")]);
    newer.parameters.insert(id("n"), parameter(json!({"type": "number"})));
    w.deploy(newer);
    w.exits(&child, 0);
    assert_eq!(w.position(&o), "last");
    assert!(!w.order(&o).results.contains_key("yes"));
}

#[test]
fn a_failed_call_fails_its_step() {
    let mut w = World::new();
    w.deploy(workflow("inner", vec![job("x")]));
    w.deploy(workflow(
        "outer",
        vec![try_catch(
            "t",
            vec![call("c", "inner", json!({}))],
            None,
            vec![if_else("if", "c.returnCode == 1", vec![job("yes")], vec![])],
        )],
    ));
    let o = w.add("outer");
    w.exits(&w.child(&o, "c"), 1);
    assert_eq!(w.position(&o), "yes");
}

#[test]
fn a_call_with_wrong_arguments_fails() {
    let mut w = World::new();
    let mut inner = workflow("inner", vec![job("x")]);
    inner.parameters.insert(id("n"), parameter(json!({"type": "number"})));
    w.deploy(inner);
    w.deploy(workflow("outer", vec![call("c", "inner", json!({"n": "two"}))]));
    let o = w.add("outer");
    assert!(matches!(w.order(&o).state, OrderState::Failed { failure: Failure::CallRefused { .. } }));
}

#[test]
fn calls_that_call_themselves_end_at_the_limit() {
    let mut w = World::new();
    w.try_deploy(vec![workflow("w", vec![call("c", "w", json!({}))])], vec![]).unwrap();
    let o = w.add("w");
    assert!(matches!(w.order(&o).state, OrderState::Failed { failure: Failure::BranchFailed { .. } }));
    let deepest = w.events.iter().filter_map(|e| e.order()).max_by_key(|o| o.as_str().len()).unwrap();
    assert_eq!(deepest.as_str().matches(':').count(), crate::limit::NESTING);
}

#[test]
fn long_branch_names_give_way_to_numbers() {
    let mut w = World::new();
    let long = "b".repeat(40);
    let mut steps = vec![job("x")];
    for i in 0..5 {
        steps = vec![fork(&format!("f{i}"), WhenFailed::Join, vec![(&long, steps)])];
    }
    w.deploy(workflow("w", steps));
    let o = w.add("w");
    let leaf = w.site.orders.values().find(|o| matches!(o.state, OrderState::Processing { .. })).unwrap();
    assert!(leaf.id.as_str().ends_with(":1:1:1"), "{}", leaf.id);
    let leaf = leaf.id.clone();
    w.exits(&leaf, 0);
    assert_eq!(w.state(&o), "finished");
}

#[test]
fn a_missing_body_fails_the_order_and_says_so() {
    let mut w = World::new();
    w.deploy(workflow("w", vec![job("a"), job("b")]));
    let o = w.add("w");
    w.forget_bodies();
    w.exits(&o, 0);
    assert!(matches!(w.order(&o).state, OrderState::Failed { failure: Failure::Definition { .. } }));
}
