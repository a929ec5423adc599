//! Commands about definitions that services act by, and what the daily plan reports.

use crate::workload::{id, pick};
use ordo_domain::{
    Command, Instant,
    catalog::{
        DefinitionKind, NoteStarts, RemoveDefinitions, RemoveItem, ResumeSchedules, StartNotPlanned, StartNote,
        StartSkipped, SuspendSchedules,
    },
    command::Deploy,
    definition::{self, Item},
    order::command::StartKey,
};
use rand::{RngExt, rngs::SmallRng};

/// The workflow of the schedule; no order of it is ever added.
const SPARE: &str = "workflow: spare\nsteps:\n  - finish:\n";
const SCHEDULE: &str = "schedule: nightly\nworkflow: spare\ntimes:\n  - cron: 0 2 * * *\n";
const RETENTION: &str = "retention: default\n";

/// The command, and the bodies that it names.
pub fn command(rng: &mut SmallRng, now: Instant) -> (Command, Vec<Item>) {
    let schedules = || vec![id("nightly")];
    let schedule = RemoveItem::Definition { kind: DefinitionKind::Schedule, name: id("nightly") };
    let spare = RemoveItem::Workflow { name: id("spare") };
    let command = match rng.random_range(0..10) {
        0..4 => {
            // Another title makes another version.
            let title = format!("title: version {}\n", rng.random_range(0..3));
            let text = [SPARE, SCHEDULE, RETENTION].map(|text| format!("{text}{title}")).join("---\n");
            let items = definition::read("simulated.yaml", &text).expect("valid definitions").items;
            return (Command::Deploy(Deploy { items: items.iter().map(Item::deploy_item).collect() }), items);
        }
        4 => Command::SuspendSchedules(SuspendSchedules { schedules: schedules() }),
        5 => Command::ResumeSchedules(ResumeSchedules { schedules: schedules() }),
        // The workflow alone is refused while the schedule needs it.
        6 => Command::RemoveDefinitions(RemoveDefinitions { items: vec![spare] }),
        7 => Command::RemoveDefinitions(RemoveDefinitions { items: vec![schedule, spare] }),
        8 => Command::RemoveDefinitions(RemoveDefinitions { items: vec![schedule] }),
        _ => Command::NoteStarts(NoteStarts { notes: vec![note(rng, now)] }),
    };
    (command, Vec::new())
}

fn note(rng: &mut SmallRng, now: Instant) -> StartNote {
    let start = StartKey { schedule: "nightly".into(), parameterisation: "default".into(), instant: now };
    let reason = pick(rng, &["missed", "refused"]).to_string();
    if rng.random() {
        StartNote::Skipped(StartSkipped { start, workflow: id("spare"), until: Some(now), count: 3, reason })
    } else {
        StartNote::NotPlanned(StartNotPlanned {
            schedule: id("nightly"),
            workflow: id("spare"),
            start: Some(start),
            reason,
        })
    }
}
