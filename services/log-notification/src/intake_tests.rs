use super::*;
use ordo_domain::log_rule::{FOLD, LogRule};
use ordo_domain::{DefinitionName, Span};

fn intake(limits: SyslogConfig) -> (Intake, Arc<Backlog>) {
    let backlog = Arc::new(Backlog::default());
    let allow = limits.understood().unwrap().allow;
    (Intake::new(&limits, allow, Arc::clone(&backlog)), backlog)
}

fn here() -> IpAddr {
    "127.0.0.1".parse().unwrap()
}

async fn kept(backlog: &Backlog) -> Vec<LogRecord> {
    if backlog.is_empty() && !backlog.has_notes() { Vec::new() } else { backlog.take().await }
}

#[tokio::test]
async fn only_what_is_bad_or_fits_a_rule_is_kept() {
    let (intake, backlog) = intake(SyslogConfig::default());
    let rule = LogRule {
        name: DefinitionName::new("logins").unwrap(),
        title: None,
        severity: None,
        applications: vec!["sshd".into()],
        hosts: vec![],
        text: Some("root".into()),
        exclude: None,
        notice: "Somebody is root".into(),
        fold: FOLD,
    };
    intake.set_rules(Arc::new(RuleSet::new([rule]).0));
    let moment = intake.moment();
    let messages = [
        "<14>1 - h sshd 7 - - session opened for root",
        "<14>1 - h sshd 8 - - session opened for guest",
        "<12>1 - h cron - - - a warning",
        "<11>1 - h cron - - - an error\nwith a second line",
    ];
    for message in messages {
        intake.take(&moment, here(), message.as_bytes(), 0);
    }
    let kept = kept(&backlog).await;
    let texts: Vec<&str> = kept.iter().map(|record| record.message.as_str()).collect();
    assert_eq!(texts, ["session opened for root", "a warning", "an error\\nwith a second line"]);
    assert_eq!(kept[0].syslog.as_ref().unwrap().process.as_deref(), Some("7"));
    assert_eq!(intake.figures(), Taken { taken: 4, matched: 1, kept: 3, untaken: 0, unkept: 0 });
}

#[tokio::test]
async fn a_cut_message_says_so() {
    let (intake, backlog) = intake(SyslogConfig::default());
    intake.take(&intake.moment(), here(), b"<11>1 - h a - - - begin", 77);
    let record = &kept(&backlog).await[0];
    assert_eq!(record.message, "begin … (77 bytes more, cut off)");
    assert_eq!(record.syslog.as_ref().unwrap().cut_bytes, 77);
}

#[tokio::test]
async fn what_is_not_taken_is_said_once_for_each_sender() {
    let limits = SyslogConfig {
        messages_per_sender: 10,
        stored_per_sender: 1,
        say_every: Span::from_secs(1),
        ..SyslogConfig::default()
    };
    let (intake, backlog) = intake(limits);
    let moment = intake.moment();
    for _ in 0..100 {
        intake.take(&moment, here(), b"<11>1 - h a - - - x", 0);
    }
    let stranger = "203.0.113.9".parse().unwrap();
    assert!(!intake.admits(stranger) && !intake.admits(stranger) && intake.admits(here()));
    assert_eq!(kept(&backlog).await.len(), 10);
    intake.say_losses();
    intake.say_losses();
    let said = kept(&backlog).await;
    let texts: Vec<&str> = said.iter().map(|record| record.message.as_str()).collect();
    assert_eq!(
        texts,
        [
            "80 messages of 127.0.0.1 were not taken: 80 beyond 10 a second of one sender; \
             10 messages of 127.0.0.1 were looked at but not kept: 10 beyond 1 a second of one sender or 200 of all",
            "2 messages of 203.0.113.9 were not taken: 2 because syslog.allow does not name the sender",
        ]
    );
    assert!(said.iter().all(|record| record.level == Severity::Warning));
    let figures = intake.figures();
    assert_eq!((figures.untaken, figures.unkept), (82, 10));
    intake.say_losses();
    assert!(!backlog.has_notes());
}

#[tokio::test]
async fn while_the_bus_is_away_memory_is_bounded_and_what_does_not_fit_is_counted() {
    let much = SyslogConfig {
        stored: 10_000_000,
        stored_per_sender: 10_000_000,
        messages: 10_000_000,
        messages_per_sender: 10_000_000,
        ..SyslogConfig::default()
    };
    let (intake, backlog) = intake(much);
    let moment = intake.moment();
    let message = format!("<11>1 - h a - - - {}", "x".repeat(8_000));
    for _ in 0..2_000 {
        intake.take(&moment, here(), message.as_bytes(), 0);
    }
    let figures = intake.figures();
    assert_eq!(figures.kept + figures.unkept, 2_000);
    assert!((900..1_100).contains(&figures.kept), "about 8 MiB: {figures:?}");
    intake.say_losses();
    let first = backlog.take().await;
    assert!(first[0].message.contains("because the bus was away"), "{}", first[0].message);
    let mut count = first.len() - 1;
    while !backlog.is_empty() {
        count += backlog.take().await.len();
    }
    assert_eq!(count as u64, figures.kept, "the rest is there, in order");
    intake.take(&moment, here(), message.as_bytes(), 0);
    assert_eq!(intake.figures().kept, figures.kept + 1, "there is room again");
}
