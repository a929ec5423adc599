//! Commands to the controller, and their ids: they follow from what is asked, so that the same is asked twice at most.

use chrono::{DateTime, Utc};
use ordo_contract::command::{CommandMessage, noun_verb};
use ordo_contract::name::SiteNames;
use ordo_domain::catalog::{NoteStarts, StartNote};
use ordo_domain::command::By;
use ordo_domain::order::command::{AddOrders, CancelOrders};
use ordo_domain::{Command, CommandId, ContentHash, UserName, limit};
use ordo_journal::{Headers, Outgoing};
use ordo_store::plan::{Asked, DueStart, Note, Recall};

/// Orders in one command: decided in one part.
const ORDERS: usize = 100;
/// Of an event beside what the command says, see the domain.
const EVENT: usize = 600;

/// Starts that go together, as many as one decision takes.
pub(crate) fn group(due: Vec<DueStart>) -> Vec<Asked<DueStart>> {
    let mut groups: Vec<Vec<DueStart>> = Vec::new();
    let (mut open, mut bytes) = (false, 0);
    for start in due {
        let size = limit::json_bytes(&start.order) + EVENT;
        let fits = groups.last().is_some_and(|g| g.len() < ORDERS) && bytes + size <= limit::PART_BYTES;
        if open && fits && !start.alone {
            bytes += size;
            if let Some(last) = groups.last_mut() {
                last.push(start);
            }
        } else {
            (open, bytes) = (!start.alone, size);
            groups.push(vec![start]);
        }
    }
    groups.into_iter().filter_map(|about| Some(Asked { command: id("add", about.iter().map(line))?, about })).collect()
}

/// Orders to be taken back together.
pub(crate) fn group_recalls(recalls: Vec<Recall>) -> Vec<Asked<Recall>> {
    let (alone, together): (Vec<Recall>, Vec<Recall>) = recalls.into_iter().partition(|recall| recall.alone);
    let groups = together.chunks(ORDERS).map(<[Recall]>::to_vec).chain(alone.into_iter().map(|recall| vec![recall]));
    let asked = |about: Vec<Recall>| {
        let command = id("back", about.iter().map(|recall| recall.order.to_string()))?;
        Some(Asked { command, about })
    };
    groups.filter_map(asked).collect()
}

/// A note, known by what it says.
pub(crate) fn note(note: StartNote) -> Option<Note> {
    let text = serde_json::to_string(&note).ok()?;
    Some(Note { command: id("note", [text].into_iter())?, notes: NoteStarts { notes: vec![note] } })
}

fn line(start: &DueStart) -> String {
    let DueStart { key, fingerprint, generation, .. } = start;
    format!("{} {} {} {fingerprint} {generation}", key.schedule, key.parameterisation, key.instant.to_rfc3339())
}

fn id(what: &str, lines: impl Iterator<Item = String>) -> Option<CommandId> {
    let hash = ContentHash::of(lines.collect::<Vec<_>>().join("\n").as_bytes());
    CommandId::new(format!("plan-{what}-{}", &hash.as_str()[..32])).ok()
}

pub(crate) fn add(names: &SiteNames, asked: &Asked<DueStart>, now: DateTime<Utc>) -> anyhow::Result<Outgoing> {
    let orders = asked.about.iter().map(|start| start.order.clone()).collect();
    message(names, &asked.command, Command::AddOrders(AddOrders { orders }), now)
}

pub(crate) fn back(names: &SiteNames, asked: &Asked<Recall>, now: DateTime<Utc>) -> anyhow::Result<Outgoing> {
    let orders = asked.about.iter().map(|recall| recall.order.clone()).collect();
    message(names, &asked.command, Command::CancelOrders(CancelOrders { orders, kill: false, replan: true }), now)
}

pub(crate) fn noted(names: &SiteNames, note: &Note, now: DateTime<Utc>) -> anyhow::Result<Outgoing> {
    message(names, &note.command, Command::NoteStarts(note.notes.clone()), now)
}

fn message(names: &SiteNames, id: &CommandId, command: Command, at: DateTime<Utc>) -> anyhow::Result<Outgoing> {
    let (noun, verb) = noun_verb(&command);
    let by = By { user: UserName::new("daily-plan")?, reason: None };
    let body = serde_json::to_vec(&CommandMessage { id: id.clone(), by, at, command })?;
    Ok(Outgoing::new(names.command(noun, verb), Headers::new(), body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordo_domain::order::command::{NewOrder, Overlap, StartKey};

    fn due(n: i64, alone: bool, generation: i32) -> DueStart {
        let key = StartKey {
            schedule: "s".into(),
            parameterisation: "default".into(),
            instant: DateTime::from_timestamp(1_800_000_000 + n, 0).unwrap_or_default(),
        };
        let order: NewOrder = serde_json::from_str(r#"{"workflow":"w"}"#).unwrap_or_else(|e| panic!("{e}"));
        let order = NewOrder { start: Some(key.clone()), overlap: Overlap::Wait, ..order };
        DueStart { key, fingerprint: 7, generation, alone, order }
    }

    #[test]
    fn ids_follow_from_what_is_asked() {
        let one = |generation| group(vec![due(1, false, generation)])[0].command.clone();
        assert_eq!(one(0), one(0));
        assert_ne!(one(0), one(1));
        let groups = group((0..250).map(|n| due(n, n == 100, 0)).collect());
        let sizes: Vec<usize> = groups.iter().map(|asked| asked.about.len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 250);
        assert!(sizes.iter().all(|size| *size <= 100) && sizes.contains(&1), "{sizes:?}");
        let alone = groups.iter().find(|asked| asked.about[0].alone).map(|asked| asked.about.len());
        assert_eq!(alone, Some(1));
    }
}
