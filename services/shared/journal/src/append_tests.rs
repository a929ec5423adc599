use super::*;
use crate::memory::{Fault, MemoryJournal, MemoryLog};

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn writer(log: &MemoryLog, faults: Vec<Fault>) -> MemoryJournal {
    let mut faults = faults.into_iter();
    MemoryJournal::with_faults(log, Box::new(move |_| faults.next().unwrap_or(Fault::None)))
}

fn texts(log: &MemoryLog) -> Vec<String> {
    log.commits_from(1).into_iter().map(|(_, b)| String::from_utf8_lossy(&b).into_owned()).collect()
}

#[test]
fn an_append_whose_ack_was_lost_is_done_once() {
    let log = MemoryLog::new();
    let mut journal = writer(&log, vec![Fault::LostAck, Fault::LostAck]);
    assert_eq!(journal.append_now(0, bytes("a")).unwrap().sequence, 1);
    assert_eq!(journal.append_now(1, bytes("b")).unwrap().sequence, 2);
    assert_eq!(texts(&log), ["a", "b"]);
}

#[test]
fn a_lost_request_is_repeated() {
    let log = MemoryLog::new();
    let mut journal = writer(&log, vec![Fault::LostRequest, Fault::LostRequest, Fault::LostAck]);
    assert_eq!(journal.append_now(0, bytes("a")).unwrap().sequence, 1);
    assert_eq!(texts(&log), ["a"]);
}

#[test]
fn a_foreign_commit_in_our_place_fences() {
    let log = MemoryLog::new();
    let mut journal = writer(&log, vec![Fault::Overtaken(bytes("other"))]);
    match journal.append_now(0, bytes("a")) {
        Err(AppendError::Fenced { sequence: 1, found }) => assert_eq!(found, bytes("other")),
        outcome => panic!("{outcome:?}"),
    }
    assert_eq!(texts(&log), ["other"]);
}

#[test]
fn a_foreign_commit_after_a_timeout_fences_too() {
    let log = MemoryLog::new();
    let mut journal = writer(&log, vec![Fault::LostRequest, Fault::Overtaken(bytes("other"))]);
    assert!(matches!(journal.append_now(0, bytes("a")), Err(AppendError::Fenced { .. })));
    assert_eq!(texts(&log), ["other"]);
}

#[test]
fn noise_in_the_journal_neither_fences_nor_stops() {
    let log = MemoryLog::new();
    let mut journal = writer(&log, vec![Fault::Noise, Fault::LostAck]);
    assert_eq!(journal.append_now(0, bytes("a")).unwrap().sequence, 2);
    assert_eq!(journal.append_now(2, bytes("b")).unwrap().sequence, 3);
    assert_eq!(texts(&log), ["a", "b"]);
}

#[test]
fn a_journal_that_ends_before_our_position_is_said_after_patience() {
    let log = MemoryLog::new();
    let mut journal = MemoryJournal::new(&log);
    assert!(matches!(journal.append_now(5, bytes("a")), Err(AppendError::Rewound { expected: 5 })));
    assert_eq!(log.last_sequence(), 0);
}

#[test]
fn nothing_else_is_sent_while_the_outcome_of_an_append_is_unknown() {
    let mut in_flight = InFlight::default();
    in_flight.begin(0, bytes("a")).unwrap();
    assert!(matches!(in_flight.begin(1, bytes("b")), Err(AppendError::Unresolved { expected: 0 })));
    // The same bytes go on where they were.
    assert_eq!(in_flight.begin(0, bytes("a")).unwrap().expected_last(), 0);
    in_flight.finish();
    assert!(in_flight.begin(1, bytes("b")).is_ok());
}

#[test]
fn a_commit_that_is_too_large_is_said_and_not_repeated() {
    let mut append = Append::new(0, bytes("a"));
    append.published(Attempt::TooLarge);
    assert!(matches!(append.outcome(), Some(Err(AppendError::TooLarge { bytes: 1 }))));
}

#[test]
fn a_read_that_fails_is_read_again_and_the_bytes_are_not_sent() {
    let mut append = Append::new(7, bytes("a"));
    append.published(Attempt::Conflict);
    assert_eq!(append.step(), &Step::Read { sequence: 8 });
    append.read(Found::Trouble);
    assert_eq!(append.step(), &Step::Read { sequence: 8 });
    append.read(Found::Nothing);
    assert_eq!(append.step(), &Step::Publish { expected_last: 7 });
}

#[test]
fn a_purge_leaves_the_sequences_alone() {
    let log = MemoryLog::new();
    let mut journal = MemoryJournal::new(&log);
    for (last, text) in ["a", "b", "c"].into_iter().enumerate() {
        journal.append_now(last as u64, bytes(text)).unwrap();
    }
    log.purge(2);
    assert_eq!(log.commits_from(1), [(3, bytes("c"))]);
    assert_eq!(journal.append_now(3, bytes("d")).unwrap().sequence, 4);
}
