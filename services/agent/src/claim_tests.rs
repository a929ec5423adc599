use super::*;
use ordo_domain::run::report::{OutputSummary, Usage};
use ordo_domain::run::spec::SpecAction;
use ordo_domain::{Span, run::JobSpec};

fn moment(boot_ms: u64) -> Moment {
    Moment { at: Instant::from_timestamp_millis(1_000_000 + i64::try_from(boot_ms).unwrap()).unwrap(), boot_ms }
}

fn me(instance: &str) -> Me {
    Me {
        agent: "etl".parse().unwrap(),
        instance: instance.parse().unwrap(),
        node: "n1".parse().unwrap(),
        version: "1".into(),
        slots: 2,
        boot: "boot-1".into(),
    }
}

fn run(number: u128) -> RunId {
    RunId::from_bits(number)
}

fn message(number: u128, epoch: u64) -> JobMessage {
    JobMessage {
        v: 1,
        run: run(number),
        order: "20261122-T1-x".parse().unwrap(),
        workflow: "x".parse().unwrap(),
        position: "a".parse().unwrap(),
        job: "a".parse().unwrap(),
        agent: "etl".parse().unwrap(),
        attempt: 1,
        priority: 0,
        epoch,
        dispatched_at: moment(0).at,
        spec: JobSpec {
            action: SpecAction::Command { arguments: vec!["true".into()] },
            env: BTreeMap::new(),
            directory: None,
            timeout: None,
            kill_after: Span::from_secs(10),
            results: BTreeMap::new(),
        },
    }
}

fn facts(end: RunEnd, chunks: u32) -> RunFacts {
    RunFacts {
        end,
        started_at: Some(moment(1).at),
        ended_at: moment(2).at,
        usage: Usage::default(),
        output: OutputSummary { chunks, ..OutputSummary::default() },
        results: BTreeMap::new(),
        results_error: None,
    }
}

/// The core with a disk that holds what it asked to be stored.
struct Agent {
    core: AgentCore,
    records: Vec<Record>,
}

impl Agent {
    fn new(instance: &str) -> Self {
        Self { core: AgentCore::new(me(instance)), records: Vec::new() }
    }

    fn handle(&mut self, input: Input, boot_ms: u64) -> Vec<Action> {
        let actions = self.core.handle(input, moment(boot_ms));
        self.write(&actions);
        actions
    }

    fn write(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Store(stored) => self.records.push(Record::Job(stored.clone())),
                Action::Report(report) => self.records.push(Record::Report(report.clone())),
                Action::Drop { run } => self.records.push(Record::Dropped { run: run.clone() }),
                _ => {}
            }
        }
    }

    fn restart(&mut self, boot: &str, on_disk: BTreeMap<RunId, OnDisk>, boot_ms: u64) -> Vec<Action> {
        let me = Me { boot: boot.into(), ..me("a1") };
        let (core, actions) = AgentCore::recover(me, self.records.clone(), on_disk, moment(boot_ms));
        self.core = core;
        self.write(&actions);
        actions
    }

    fn start(&mut self, number: u128) {
        self.handle(Input::Job(Box::new(message(number, 1))), 0);
        self.handle(Input::Stored { run: run(number) }, 0);
        self.handle(Input::ClaimWon { run: run(number) }, 0);
        self.handle(Input::Started { run: run(number) }, 0);
    }
}

/// The names of actions, without what they carry.
fn words(actions: &[Action]) -> Vec<String> {
    actions.iter().map(|action| format!("{action:?}").split([' ', '(']).next().unwrap().to_owned()).collect()
}

fn reported_end(actions: &[Action]) -> Option<RunEnd> {
    actions.iter().find_map(|action| match action {
        Action::Report(report) => match &report.report {
            Report::Ended { facts, .. } => Some(facts.end.clone()),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn a_run_is_stored_claimed_acknowledged_started_and_reported_in_this_order() {
    let mut agent = Agent::new("a1");
    assert_eq!(words(&agent.handle(Input::Job(Box::new(message(1, 7))), 0)), ["Store"]);
    assert_eq!(agent.core.free_slots(), 1);
    let claim = agent.handle(Input::Stored { run: run(1) }, 10);
    assert!(matches!(&claim[..], [Action::Claim(claim)] if claim.number == 0 && claim.epoch == 7));
    let won = agent.handle(Input::ClaimWon { run: run(1) }, 20);
    assert_eq!(words(&won), ["Ack", "Start"]);
    assert!(matches!(&won[1], Action::Start { before_boot_ms: 5_010, .. }));
    agent.handle(Input::Started { run: run(1) }, 30);
    assert_eq!(agent.core.heartbeat().runs, [run(1)]);
    let ended = agent.handle(Input::Ended { run: run(1), facts: Box::new(facts(RunEnd::Exited { code: 3 }, 2)) }, 40);
    assert_eq!(reported_end(&ended), Some(RunEnd::Exited { code: 3 }));
    // Its report waits: still named in the heartbeat, its slot free again.
    assert_eq!(
        (agent.core.heartbeat().runs, agent.core.heartbeat().outbox, agent.core.free_slots()),
        (vec![run(1)], 1, 2)
    );
    assert_eq!(agent.handle(Input::ReportAcked { number: 1 }, 50), [Action::AwaitOutput { run: run(1) }]);
    assert_eq!(agent.core.heartbeat().runs, []);
    assert_eq!(agent.handle(Input::OutputStored { run: run(1) }, 60), [Action::Delete { run: run(1) }]);
    agent.handle(Input::Deleted { run: run(1) }, 70);
    assert_eq!(agent.core.records(), [Record::Marks { number: 1, epoch: 7 }]);
}

#[test]
fn a_job_that_cannot_be_stored_goes_back_unclaimed() {
    let mut agent = Agent::new("a1");
    agent.handle(Input::Job(Box::new(message(1, 1))), 0);
    assert_eq!(words(&agent.handle(Input::NotStored { run: run(1) }, 1)), ["Nak"]);
    assert_eq!(agent.core.free_slots(), 2);
    assert_eq!(words(&agent.handle(Input::Job(Box::new(message(1, 1))), 2)), ["Store"]);
}

#[test]
fn a_claim_that_another_won_is_forgotten() {
    let mut agent = Agent::new("a1");
    agent.handle(Input::Job(Box::new(message(1, 1))), 0);
    agent.handle(Input::Stored { run: run(1) }, 0);
    assert_eq!(words(&agent.handle(Input::ClaimFound { run: run(1), ours: false }, 1)), ["Ack", "Drop"]);
    assert_eq!((agent.core.free_slots(), agent.core.heartbeat().runs.len()), (2, 0));
    // Also one in our name of which we know nothing: an earlier life without its disk.
    agent.handle(Input::Job(Box::new(message(1, 1))), 2);
    agent.handle(Input::Stored { run: run(1) }, 2);
    assert_eq!(words(&agent.handle(Input::ClaimFound { run: run(1), ours: true }, 3)), ["Ack", "Drop"]);
}

#[test]
fn a_claim_that_took_too_long_is_reported_as_not_started() {
    let mut agent = Agent::new("a1");
    agent.handle(Input::Job(Box::new(message(1, 1))), 0);
    agent.handle(Input::Stored { run: run(1) }, 0);
    let won = agent.handle(Input::ClaimWon { run: run(1) }, SPAWN_WITHIN_MS + 1);
    assert_eq!(words(&won), ["Ack", "Report"]);
    assert!(matches!(reported_end(&won), Some(RunEnd::NotStarted { .. })));
}

#[test]
fn a_start_that_came_too_late_asks_for_another_run_and_an_impossible_one_does_not() {
    for wanted in [true, false] {
        let mut agent = Agent::new("a1");
        agent.handle(Input::Job(Box::new(message(1, 1))), 0);
        agent.handle(Input::Stored { run: run(1) }, 0);
        assert_eq!(words(&agent.handle(Input::ClaimWon { run: run(1) }, 1)), ["Ack", "Start"]);
        let input = Input::NotStarted { run: run(1), reason: "because".into(), again: wanted };
        let end = reported_end(&agent.handle(input, 2));
        assert!(matches!(end, Some(RunEnd::NotStarted { again, .. }) if again == wanted), "{end:?}");
    }
}

#[test]
fn a_message_that_comes_again_starts_nothing_again() {
    let mut agent = Agent::new("a1");
    agent.handle(Input::Job(Box::new(message(1, 1))), 0);
    assert_eq!(agent.handle(Input::Job(Box::new(message(1, 1))), 1), []);
    agent.handle(Input::Stored { run: run(1) }, 2);
    assert_eq!(agent.handle(Input::Job(Box::new(message(1, 1))), 3), []);
    agent.handle(Input::ClaimWon { run: run(1) }, 4);
    for _ in 0..2 {
        assert_eq!(words(&agent.handle(Input::Job(Box::new(message(1, 1))), 5)), ["Ack"]);
    }
    agent.handle(Input::Started { run: run(1) }, 6);
    agent.handle(Input::Ended { run: run(1), facts: Box::new(facts(RunEnd::Exited { code: 0 }, 1)) }, 7);
    assert_eq!(words(&agent.handle(Input::Job(Box::new(message(1, 1))), 8)), ["Ack"]);
    // An end that is told twice is reported once.
    assert_eq!(
        agent.handle(Input::Ended { run: run(1), facts: Box::new(facts(RunEnd::Exited { code: 0 }, 1)) }, 9),
        []
    );
}

#[test]
fn a_kill_works_at_every_point() {
    let mut agent = Agent::new("a1");
    let kill = |number| Input::Kill { run: run(number), epoch: 9 };
    // Of what is not known.
    assert_eq!(words(&agent.handle(kill(5), 0)), ["AckKill"]);
    assert_eq!(agent.core.epoch(), 9);
    // While the claim is under way.
    agent.handle(Input::Job(Box::new(message(1, 1))), 0);
    agent.handle(Input::Stored { run: run(1) }, 0);
    assert_eq!(words(&agent.handle(kill(1), 1)), ["AckKill"]);
    assert_eq!(reported_end(&agent.handle(Input::ClaimWon { run: run(1) }, 2)), Some(RunEnd::Killed));
    // While it starts and while it runs: acknowledged when the runner has it.
    agent.handle(Input::Job(Box::new(message(2, 1))), 3);
    agent.handle(Input::Stored { run: run(2) }, 3);
    agent.handle(Input::ClaimWon { run: run(2) }, 3);
    assert_eq!(words(&agent.handle(kill(2), 4)), ["Kill"]);
    agent.handle(Input::Started { run: run(2) }, 5);
    assert_eq!(words(&agent.handle(kill(2), 6)), ["Kill"]);
    assert_eq!(words(&agent.handle(Input::KillSent { run: run(2) }, 7)), ["AckKill"]);
    // A new runner gets it again.
    let runs = BTreeMap::from([(run(2), OnDisk::Running)]);
    assert_eq!(words(&agent.handle(Input::Runner { runs }, 8)), ["Kill"]);
}

#[test]
fn a_restart_claims_again_what_was_stored_and_not_decided() {
    let mut agent = Agent::new("a1");
    agent.handle(Input::Job(Box::new(message(1, 4))), 0);
    agent.handle(Input::Stored { run: run(1) }, 0);
    let actions = agent.restart("boot-1", BTreeMap::new(), 60_000);
    assert_eq!(words(&actions), ["Claim"]);
    assert_eq!(agent.core.epoch(), 4);
    // Nobody had claimed it: it runs. Measured from the new claim.
    assert_eq!(words(&agent.handle(Input::ClaimWon { run: run(1) }, 60_100)), ["Ack", "Start"]);
}

#[test]
fn a_restart_claims_nothing_whose_claim_may_be_gone() {
    let age = u64::try_from(JOB_AGE.as_millis()).unwrap();
    for (boot_ms, wanted, free) in [(age - 1, vec!["Claim"], 1), (age, vec!["Ack", "Drop"], 2)] {
        let mut agent = Agent::new("a1");
        agent.handle(Input::Job(Box::new(message(1, 1))), 0);
        agent.handle(Input::Stored { run: run(1) }, 0);
        assert_eq!(words(&agent.restart("boot-1", BTreeMap::new(), boot_ms)), wanted);
        assert_eq!(agent.core.free_slots(), free);
    }
    // One that runs is none of these.
    let mut agent = Agent::new("a1");
    agent.start(1);
    assert_eq!(agent.restart("boot-1", BTreeMap::from([(run(1), OnDisk::Running)]), 2 * age), []);
    assert_eq!(agent.core.running(), [run(1)]);
}

#[test]
fn an_old_look_holds_no_slot_for_a_run_that_is_gone() {
    let mut agent = Agent::new("a1");
    agent.start(1);
    agent.handle(Input::Ended { run: run(1), facts: Box::new(facts(RunEnd::Exited { code: 0 }, 0)) }, 1);
    agent.handle(Input::ReportAcked { number: 1 }, 2);
    agent.handle(Input::Deleted { run: run(1) }, 3);
    // The look was taken while it ran.
    assert_eq!(agent.handle(Input::Runner { runs: BTreeMap::from([(run(1), OnDisk::Running)]) }, 4), []);
    assert_eq!((agent.core.free_slots(), agent.core.running()), (2, vec![]));
    // An end that is told of is never left out, and a restart takes what only its folder tells of.
    let ended = OnDisk::Ended(Box::new(facts(RunEnd::Exited { code: 5 }, 0)));
    let actions = agent.handle(Input::Runner { runs: BTreeMap::from([(run(2), ended)]) }, 5);
    assert_eq!(reported_end(&actions), Some(RunEnd::Exited { code: 5 }));
    agent.restart("boot-1", BTreeMap::from([(run(3), OnDisk::Running)]), 6);
    assert_eq!(agent.core.running(), [run(3)]);
}

#[test]
fn a_restart_that_finds_its_own_claim_without_a_folder_reports_instead_of_starting() {
    for (boot, lost) in [("boot-1", false), ("boot-2", true)] {
        let mut agent = Agent::new("a1");
        agent.handle(Input::Job(Box::new(message(1, 1))), 0);
        agent.handle(Input::Stored { run: run(1) }, 0);
        agent.handle(Input::ClaimWon { run: run(1) }, 0);
        assert_eq!(words(&agent.restart(boot, BTreeMap::new(), 10)), ["Claim"]);
        let actions = agent.handle(Input::ClaimFound { run: run(1), ours: true }, 11);
        assert_eq!(words(&actions), ["Ack", "Report"]);
        assert_eq!(matches!(reported_end(&actions), Some(RunEnd::Lost { .. })), lost);
    }
}

#[test]
fn a_restart_takes_running_and_ended_runs_back() {
    let mut agent = Agent::new("a1");
    agent.start(1);
    agent.start(2);
    let ended = OnDisk::Ended(Box::new(facts(RunEnd::Exited { code: 5 }, 0)));
    let actions = agent.restart("boot-1", BTreeMap::from([(run(1), OnDisk::Running), (run(2), ended.clone())]), 10);
    assert_eq!(reported_end(&actions), Some(RunEnd::Exited { code: 5 }));
    assert_eq!(agent.core.running(), [run(1)]);
    // Once more: the report is in the outbox, the end is not reported again.
    let actions = agent.restart("boot-1", BTreeMap::from([(run(1), OnDisk::Running), (run(2), ended)]), 20);
    assert_eq!(actions, []);
    let numbers: Vec<u64> = agent.core.outbox().map(|report| report.number).collect();
    assert_eq!(numbers, [1]);
    assert_eq!(words(&agent.handle(Input::ReportAcked { number: 1 }, 30)), ["Delete"]);
}

#[test]
fn numbers_are_never_given_twice() {
    let mut agent = Agent::new("a1");
    agent.handle(Input::Ready, 0);
    agent.handle(Input::ReportAcked { number: 1 }, 0);
    agent.records = agent.core.records();
    agent.restart("boot-1", BTreeMap::new(), 1);
    let actions = agent.handle(Input::Stopping, 2);
    assert!(matches!(&actions[..], [Action::Report(report)] if report.number == 2));
}

#[test]
fn records_written_anew_make_the_same_agent() {
    let mut agent = Agent::new("a1");
    agent.start(1);
    agent.start(2);
    agent.handle(Input::Ended { run: run(2), facts: Box::new(facts(RunEnd::Exited { code: 0 }, 3)) }, 1);
    agent.handle(Input::Job(Box::new(message(3, 1))), 2);
    let on_disk = BTreeMap::from([(run(1), OnDisk::Running)]);
    let (from_log, _) = AgentCore::recover(me("a1"), agent.records.clone(), on_disk.clone(), moment(5));
    let (from_compact, _) = AgentCore::recover(me("a1"), agent.core.records(), on_disk, moment(5));
    assert_eq!(from_log, from_compact);
}

#[test]
fn a_start_that_a_dying_runner_did_not_get_is_given_to_the_next_one() {
    let mut agent = Agent::new("a1");
    agent.handle(Input::Job(Box::new(message(1, 1))), 0);
    agent.handle(Input::Stored { run: run(1) }, 0);
    agent.handle(Input::ClaimWon { run: run(1) }, 0);
    let actions = agent.handle(Input::Runner { runs: BTreeMap::new() }, 100);
    assert!(matches!(&actions[..], [Action::Start { before_boot_ms: 5_000, .. }]));
    // One that had begun it made it lost.
    let lost = OnDisk::Ended(Box::new(facts(RunEnd::Lost { reason: "its runner died".into() }, 0)));
    let actions = agent.handle(Input::Runner { runs: BTreeMap::from([(run(1), lost)]) }, 200);
    assert!(matches!(reported_end(&actions), Some(RunEnd::Lost { .. })));
}

#[test]
fn only_one_of_two_instances_ever_starts_a_run() {
    // All orders of two claims and one crash of either; the bus lets the first claim win.
    for crash in [None, Some(0), Some(1)] {
        for first in 0..2 {
            let mut agents = [Agent::new("a1"), Agent::new("a2")];
            let mut starts = 0;
            for agent in &mut agents {
                agent.handle(Input::Job(Box::new(message(1, 1))), 0);
                agent.handle(Input::Stored { run: run(1) }, 0);
            }
            if let Some(crashed) = crash {
                agents[crashed].restart("boot-1", BTreeMap::new(), 1);
            }
            for (index, agent) in agents.iter_mut().enumerate() {
                let input = if index == first {
                    Input::ClaimWon { run: run(1) }
                } else {
                    Input::ClaimFound { run: run(1), ours: false }
                };
                starts += agent.handle(input, 2).iter().filter(|action| matches!(action, Action::Start { .. })).count();
            }
            assert_eq!(starts, 1, "crash {crash:?}, first {first}");
        }
    }
}
