use crate::{
    Event, Failure, Outcome, Span, decide,
    order::{OrderState, Wait},
    run::{
        Report, RunEnd, RunState,
        event::{ReportRefusal, ReportRefused},
    },
    tests::*,
};

fn world() -> World {
    let mut w = World::new();
    w.deploy(workflow("w", vec![job("a")]));
    w.deploy(workflow("once", vec![job_with("a", |j| j.restartable = false)]));
    w
}

fn refusal(events: &[Event]) -> ReportRefusal {
    match events {
        [Event::ReportRefused(ReportRefused { reason, .. })] => reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_claim_wins_and_others_are_refused() {
    let mut w = world();
    let o = w.add("w");
    let run = w.claim(&o);
    assert!(matches!(&w.site.runs[&run].state, RunState::Claimed { instance, .. } if instance.as_str() == "i1"));
    let repeated = w.report("etl", "i1", Report::Accepted { run: run.clone() });
    assert_eq!(refusal(&repeated), ReportRefusal::Repeated);
    let other = w.report("etl", "i2", Report::Accepted { run });
    assert_eq!(refusal(&other), ReportRefusal::WrongInstance);
}

#[test]
fn reports_by_the_wrong_agent_or_instance_or_of_unknown_runs_are_refused() {
    let mut w = world();
    w.command(crate::Command::AddAgent(crate::agent::AddAgent { agent: id("other"), title: None })).unwrap();
    let o = w.add("w");
    let run = w.run_of(&o);
    let ended = |run: &crate::RunId, w: &World| Report::Ended {
        run: run.clone(),
        facts: facts(RunEnd::Exited { code: 0 }, w.now),
    };
    let report = ended(&run, &w);
    assert_eq!(refusal(&w.report("etl", "i1", report.clone())), ReportRefusal::NotClaimed);
    assert_eq!(refusal(&w.report("other", "i1", Report::Accepted { run: run.clone() })), ReportRefusal::WrongAgent);
    assert_eq!(refusal(&w.report("nobody", "i1", Report::Accepted { run: run.clone() })), ReportRefusal::AgentUnknown);
    w.claim(&o);
    assert_eq!(refusal(&w.report("etl", "i2", report.clone())), ReportRefusal::WrongInstance);
    assert_eq!(refusal(&w.report("other", "i1", report.clone())), ReportRefusal::WrongAgent);
    w.report("etl", "i1", report.clone());
    assert_eq!(w.state(&o), "finished");
    assert_eq!(refusal(&w.report("etl", "i1", report)), ReportRefusal::RunUnknown);
}

#[test]
fn a_refused_claim_that_nobody_asked_for_fails_the_step() {
    let mut w = world();
    let o = w.add("w");
    let run = w.run_of(&o);
    w.report("etl", "rogue", Report::Refused { run });
    assert!(matches!(w.order(&o).state, OrderState::Failed { failure: Failure::NotStarted { .. } }));
}

#[test]
fn a_lost_run_of_a_restartable_job_is_sent_again_with_a_new_id() {
    let mut w = world();
    let o = w.add("w");
    let run = w.claim(&o);
    let lost = decide::lost(&w.site, &run, "its instance does not know it", w.ctx());
    let events = w.settle(lost);
    assert!(
        matches!(&events[..], [Event::RunEnded(e), Event::RunDispatched(d)] if e.outcome.is_none() && d.attempt == 2)
    );
    assert_ne!(w.run_of(&o), run);
    assert!(decide::lost(&w.site, &run, "again", w.ctx()).is_empty());
    let sent = w.run_of(&o);
    assert!(decide::lost(&w.site, &sent, "not claimed", w.ctx()).is_empty());
}

#[test]
fn a_lost_run_of_another_job_fails_its_step() {
    let mut w = world();
    let o = w.add("once");
    w.ends(&o, RunEnd::Lost { reason: "the runner died".into() });
    assert!(matches!(w.order(&o).state, OrderState::Failed { failure: Failure::RunLost { .. } }));
}

#[test]
fn a_run_that_its_agent_did_not_come_to_start_is_sent_again_whatever_the_job_says() {
    let mut w = world();
    let o = w.add("once");
    let run = w.run_of(&o);
    w.ends(&o, RunEnd::NotStarted { reason: "the agent stopped".into(), again: true });
    assert_eq!(w.state(&o), "running");
    assert_ne!(w.run_of(&o), run);
}

#[test]
fn a_lost_run_of_a_cancelled_order_is_not_sent_again() {
    let mut w = world();
    let o = w.add("w");
    w.claim(&o);
    w.cancel(&o, false).unwrap();
    w.ends(&o, RunEnd::Lost { reason: "the runner died".into() });
    assert_eq!(w.state(&o), "cancelled");
}

#[test]
fn every_end_has_its_outcome() {
    let mut w = world();
    let limit = Span::from_secs(3);
    for (end, wanted, code) in [
        (RunEnd::Exited { code: 7 }, Failure::ExitCode { return_code: 7 }, 7),
        (RunEnd::Signalled { signal: 9 }, Failure::Signal { signal: 9 }, 137),
        (RunEnd::TimedOut { limit }, Failure::TimedOut { limit }, -1),
        (RunEnd::NotStarted { reason: "no".into(), again: false }, Failure::NotStarted { reason: "no".into() }, -1),
    ] {
        let o = w.add("w");
        let events = w.ends(&o, end);
        let Event::RunEnded(ended) = &events[0] else { panic!() };
        assert_eq!(ended.outcome, Some(Outcome::Failed { failure: wanted }));
        assert_eq!(w.order(&o).results["a"].return_code, code);
    }
    let o = w.add("w");
    w.ends(&o, RunEnd::Killed);
    assert!(matches!(w.order(&o).state, OrderState::Failed { failure: Failure::Killed { .. } }));
}

#[test]
fn long_reasons_of_agents_are_cut() {
    let mut w = world();
    let o = w.add("w");
    let events = w.ends(&o, RunEnd::NotStarted { reason: "ü".repeat(100_000), again: false });
    assert!(crate::limit::json_bytes(&events) < 20_000);
}

#[test]
fn results_that_could_not_be_read_fail_a_good_run_and_leave_a_failed_one_as_it_is() {
    let mut w = world();
    for (code, wanted) in [(0, "result"), (5, "exit_code")] {
        let o = w.add("w");
        let run = w.claim(&o);
        let mut facts = facts(RunEnd::Exited { code }, w.now);
        facts.results_error = Some(("rows".into(), "not a number".into()));
        w.report("etl", "i1", Report::Ended { run, facts });
        let OrderState::Failed { failure } = &w.order(&o).state else { panic!() };
        assert_eq!(failure.code(), wanted);
    }
}

#[test]
fn explain_tells_how_far_a_sent_job_has_come() {
    let mut w = world();
    w.deploy(workflow("far", vec![job_with("a", |j| j.agent = id("far"))]));
    let (near, far) = (w.add("w"), w.add("far"));
    assert!(matches!(w.site.explain(&near, w.now)[..], [Wait::NotClaimed { .. }]));
    assert!(matches!(w.site.explain(&far, w.now)[..], [Wait::AgentUnknown { .. }, Wait::NotClaimed { .. }]));
    w.command(crate::Command::AddAgent(crate::agent::AddAgent { agent: id("far"), title: None })).unwrap();
    assert!(matches!(w.site.explain(&far, w.now)[..], [Wait::NoInstance { .. }, Wait::NotClaimed { .. }]));
    w.claim(&near);
    assert!(matches!(w.site.explain(&near, w.now)[..], [Wait::Running { .. }]));
    w.report("etl", "i1", Report::Stopping);
    assert_eq!(refusal(&w.report("etl", "i1", Report::Stopping)), ReportRefusal::Repeated);
    assert_eq!(refusal(&w.report("etl", "i9", Report::Stopping)), ReportRefusal::WrongInstance);
}

#[test]
fn effects_say_what_is_still_true() {
    use crate::effect::{Effect, effects, outstanding};
    let mut w = world();
    w.told();
    let o = w.add("w");
    let run = w.run_of(&o);
    let events = std::mem::take(&mut w.events);
    assert_eq!(effects(&w.site, &events), [Effect::SendJob { run: run.clone() }]);
    assert_eq!(outstanding(&w.site), [Effect::SendJob { run: run.clone() }]);
    w.claim(&o);
    assert!(effects(&w.site, &events).is_empty() && outstanding(&w.site).is_empty());
}
