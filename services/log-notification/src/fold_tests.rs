use super::*;
use ordo_contract::log::SyslogFacts;
use ordo_domain::log_rule::Severity;
use ordo_domain::{DefinitionName, Span};

fn rule(name: &str, fold: &str) -> LogRule {
    LogRule {
        name: DefinitionName::new(name).unwrap(),
        title: None,
        severity: None,
        applications: vec![],
        hosts: vec![],
        text: None,
        exclude: None,
        notice: format!("{name} happened"),
        fold: fold.parse::<Span>().unwrap(),
    }
}

fn at(seconds: i64) -> Instant {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn record(seconds: i64, host: &str, text: &str) -> LogRecord {
    LogRecord {
        at: at(seconds),
        level: Severity::Error,
        target: String::new(),
        message: text.into(),
        fields: serde_json::Map::new(),
        host: host.into(),
        syslog: Some(SyslogFacts { application: "app".into(), ..SyslogFacts::default() }),
    }
}

struct It {
    folds: Folds,
    sequence: u64,
}

impl It {
    fn new() -> Self {
        Self { folds: Folds::default(), sequence: 0 }
    }

    fn take(&mut self, rule: &LogRule, record: &LogRecord) -> Vec<LogNotice> {
        self.sequence += 1;
        let source = Source { record, role: "syslog", instance: "l1", incarnation: "i", sequence: self.sequence };
        let mut told = Vec::new();
        self.folds.take(rule, source, &mut told);
        told
    }

    fn end(&mut self, seconds: i64) -> Vec<LogNotice> {
        let mut told = Vec::new();
        self.folds.end(at(seconds), &mut told);
        told
    }
}

#[test]
fn the_first_is_told_at_once_and_the_count_when_its_time_is_over() {
    let (mut it, rule) = (It::new(), rule("disk", "5m"));
    let first = it.take(&rule, &record(0, "h", "disk 1 full"));
    assert_eq!((first.len(), first[0].count, first[0].text.as_str()), (1, 1, "disk 1 full"));
    for seconds in 1..=10 {
        assert!(it.take(&rule, &record(seconds, "h", &format!("disk {seconds} full"))).is_empty());
    }
    assert_eq!(it.take(&rule, &record(11, "other", "disk 1 full")).len(), 1, "of another host");
    assert!(it.end(299).is_empty());
    let last = it.end(300);
    assert_eq!(last.len(), 1);
    assert_eq!((&last[0].id, last[0].count), (&first[0].id, 11));
    assert_eq!((last[0].first_at, last[0].last_at), (at(0), at(10)));
    assert!(it.end(400).is_empty(), "what was told with all its count is not told again");
    assert!(it.folds.is_empty());
    let next = it.take(&rule, &record(401, "h", "disk 1 full"));
    assert_ne!(next[0].id, first[0].id);
}

#[test]
fn a_line_after_the_time_of_the_fold_ends_it() {
    let (mut it, rule) = (It::new(), rule("disk", "10s"));
    let first = it.take(&rule, &record(0, "h", "x"));
    it.take(&rule, &record(9, "h", "x"));
    let told = it.take(&rule, &record(10, "h", "x"));
    assert_eq!(told.iter().map(|notice| notice.count).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(told[0].id, first[0].id);
    assert_eq!(it.folds.len(), 1);
}

#[test]
fn without_a_fold_each_is_told_and_nothing_is_kept() {
    let (mut it, rule) = (It::new(), rule("each", "0s"));
    let ids: BTreeSet<String> = (0..3).flat_map(|_| it.take(&rule, &record(0, "h", "x"))).map(|n| n.id).collect();
    assert_eq!(ids.len(), 3);
    assert!(it.folds.is_empty() && it.folds.changes() == Changes::default());
}

#[test]
fn the_same_lines_read_again_after_a_crash_give_the_same_notices() {
    let rule = rule("disk", "1m");
    let lines: Vec<LogRecord> = (0..200).map(|n| record(n * 3, ["a", "b"][(n % 2) as usize], "text")).collect();
    let straight = {
        let mut it = It::new();
        let mut told: Vec<LogNotice> = lines.iter().flat_map(|line| it.take(&rule, line)).collect();
        told.extend(it.end(10_000));
        told
    };
    for crash in 0..lines.len() {
        let (mut it, mut told) = (It::new(), Vec::new());
        let mut rows: HashMap<String, Fold> = HashMap::new();
        for (n, line) in lines.iter().enumerate() {
            if n == crash {
                // What was not written down is gone; what was is all there is.
                it = It { folds: Folds::restored(rows.clone()), sequence: n as u64 };
            }
            told.extend(it.take(&rule, line));
            let changes = it.folds.changes();
            rows.extend(changes.open);
            changes.over.iter().for_each(|key| drop(rows.remove(key)));
        }
        told.extend(it.end(10_000));
        assert_eq!(told, straight, "crash before line {crash}");
    }
}

#[test]
fn many_different_lines_take_bounded_memory() {
    let (mut it, rule) = (It::new(), rule("noise", "1h"));
    let mut told = 0;
    for n in 0..OPEN * 2 {
        told += it.take(&rule, &record(1, &format!("host-{n}"), "x")).len();
    }
    assert_eq!(it.folds.len(), OPEN + 1);
    assert_eq!(told, OPEN + 1);
    let last = it.end(10_000);
    assert_eq!(last.iter().map(|notice| notice.count).sum::<u64>(), OPEN as u64, "those beyond are counted together");
}

#[test]
fn clocks_that_jump_do_no_harm() {
    let (mut it, rule) = (It::new(), rule("disk", "5m"));
    it.take(&rule, &record(0, "h", "x"));
    assert!(it.take(&rule, &record(-100_000, "h", "x")).is_empty(), "back: a repeat");
    let mut far = record(0, "h", "x");
    far.at = DateTime::<chrono::Utc>::MAX_UTC;
    assert_eq!(it.take(&rule, &far).len(), 2, "far ahead: the old one ends, a new one begins");
    far.at = DateTime::<chrono::Utc>::MIN_UTC;
    it.take(&rule, &far);
    assert_eq!(it.end(0), []);
}
