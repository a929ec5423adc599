use super::{
    fold::{Flood, MAILS_A_MINUTE, Route, Thing, route, unfold},
    *,
};
use crate::{DefinitionName, Instant, Span};
use chrono::{DateTime, TimeDelta};
use chrono_tz::Tz;

fn at(text: &str) -> Instant {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn patterns(list: &[&str]) -> Vec<Pattern> {
    list.iter().map(|p| p.parse().unwrap()).collect()
}

fn rule(scope: Scope, on: &[Trigger]) -> Rule {
    let name = DefinitionName::new("nights").unwrap();
    Rule { name, title: None, scope, on: on.to_vec(), notify: Vec::new(), fold: rule::FOLD, enabled: true }
}

#[test]
fn a_star_stands_for_any_run_of_characters() {
    let good = [
        ("backup", "backup"),
        ("*", ""),
        ("*", "anything"),
        ("nightly-*", "nightly-"),
        ("nightly-*", "nightly-sales"),
        ("*-sales", "nightly-sales"),
        ("n*-*s", "nightly-sales-orders"),
        ("*a*b*", "xxaxxbxx"),
        ("a**b", "ab"),
        ("売*", "売上"),
    ];
    let bad = [
        ("backup", "Backup"),
        ("backup", "backup2"),
        ("nightly-*", "nightly"),
        ("*-sales", "sales"),
        ("a*b", "abc"),
        ("", ""),
    ];
    for (pattern, name) in good {
        assert!(pattern.parse::<Pattern>().unwrap().matches(name), "{pattern} {name}");
    }
    for (pattern, name) in bad {
        assert!(pattern.parse::<Pattern>().map_or(true, |p| !p.matches(name)), "{pattern} {name}");
    }
}

#[test]
fn a_pattern_of_many_stars_is_decided_quickly() {
    let pattern: Pattern = "*a".repeat(100).parse().unwrap();
    assert!(!pattern.matches(&"a".repeat(99)));
    assert!(pattern.matches(&"ba".repeat(5_000)));
}

#[test]
fn every_list_that_is_given_must_match() {
    let tags = ["finance".to_owned()];
    let sales = Subject::order("nightly-sales", Some("finance/sales"), &tags);
    let covers = |scope: Scope| scope.covers(&sales);
    assert!(covers(Scope::default()));
    assert!(covers(Scope { workflows: patterns(&["backup", "nightly-*"]), ..Scope::default() }));
    assert!(!covers(Scope { workflows: patterns(&["backup"]), ..Scope::default() }));
    let both = Scope { workflows: patterns(&["nightly-*"]), tags: patterns(&["hr"]), ..Scope::default() };
    assert!(!covers(both));
}

#[test]
fn a_folder_means_all_below_it() {
    let covers = |folder: &str, of: &str| {
        let none: [String; 0] = [];
        let scope = Scope { folders: patterns(&[folder]), ..Scope::default() };
        scope.covers(&Subject::order("w", Some(of), &none))
    };
    assert!(covers("finance", "finance"));
    assert!(covers("finance", "finance/sales/japan"));
    assert!(covers("finance/*", "finance/sales"));
    assert!(!covers("finance", "finances"));
    assert!(!covers("sales", "finance/sales"));
    let scope = Scope { folders: patterns(&["finance"]), ..Scope::default() };
    assert!(!scope.covers(&Subject { workflow: Some("w"), ..Subject::default() }), "no folder is in none");
}

#[test]
fn what_has_no_workflow_never_matches_a_scope_of_workflows() {
    let scope = Scope { workflows: patterns(&["*"]), ..Scope::default() };
    assert!(!scope.covers(&Subject::agent("etl")));
    assert!(Scope { agents: patterns(&["e*"]), ..Scope::default() }.covers(&Subject::agent("etl")));
}

#[test]
fn a_rule_tells_of_what_lasts_long_enough() {
    let long = Trigger::RunsTooLong { longer_than: Span::from_secs(60) };
    let rule = rule(Scope::default(), &[Trigger::Failed, long]);
    let subject = Subject { workflow: Some("w"), ..Subject::default() };
    assert!(rule.matches(Kind::Failed, &subject, None));
    assert!(!rule.matches(Kind::Recovered, &subject, None));
    assert!(!rule.matches(Kind::RunsTooLong, &subject, Some(Span::from_secs(59))));
    assert!(rule.matches(Kind::RunsTooLong, &subject, Some(Span::from_secs(60))));
    assert_eq!(rule.watch(Kind::RunsTooLong, &subject), Some(Span::from_secs(60)));
    assert_eq!(rule.watch(Kind::Failed, &subject), None);
    let off = Rule { enabled: false, ..rule };
    assert!(!off.matches(Kind::Failed, &subject, None));
}

#[test]
fn an_address_cannot_carry_a_second_header_or_recipient() {
    for good in ["ops@example.org", "a.b+c@x-y.example", "root@localhost", " ops@example.org "] {
        assert!(good.parse::<MailAddress>().is_ok(), "{good}");
    }
    let bad = [
        "ops",
        "@example.org",
        "ops@",
        "a@b@c",
        "ops@example.org, b@example.org",
        "ops@example.org\r\nBcc: x@y.z",
        "\"a b\"@example.org",
        "<ops@example.org>",
        "ops@-x.org",
        "a..b@example.org",
        "运维@example.org",
        "ops@例え.jp",
    ];
    for bad in bad {
        assert!(bad.parse::<MailAddress>().is_err(), "{bad}");
    }
}

fn maintenance(windows: Vec<Window>, zone: Option<Tz>) -> Maintenance {
    let name = DefinitionName::new("patches").unwrap();
    Maintenance { name, title: None, scope: Scope::default(), windows, zone }
}

fn weekly(days: &[Weekday], from: &str, to: &str) -> Window {
    Window::Weekly { weekdays: days.iter().copied().collect(), from: from.parse().unwrap(), to: to.parse().unwrap() }
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
    let m = maintenance(vec![weekly(&[Weekday::Saturday], "22:00:00", "04:00:00")], Some(Tz::Asia__Tokyo));
    let open = |text: &str| m.open_until(at(text), Tz::UTC);
    let end = Some(at("2026-11-22T04:00:00+09:00"));
    assert_eq!(open("2026-11-21T21:59:59+09:00"), None);
    assert_eq!(open("2026-11-21T22:00:00+09:00"), end);
    assert_eq!(open("2026-11-22T03:59:59+09:00"), end);
    assert_eq!(open("2026-11-22T04:00:00+09:00"), None);
    assert_eq!(open("2026-11-21T03:00:00+09:00"), None, "not the night from friday to saturday");
}

#[test]
fn a_window_follows_the_clock_through_daylight_saving() {
    // In Berlin the hour from 2 to 3 is missing on 2026-03-29, and comes twice on 2026-10-25.
    let m = maintenance(vec![weekly(&[Weekday::Sunday], "02:30:00", "03:30:00")], Some(Tz::Europe__Berlin));
    assert_eq!(
        m.open_until(at("2026-03-29T01:00:00Z"), Tz::UTC),
        Some(at("2026-03-29T01:30:00Z")),
        "from the end of the gap"
    );
    assert_eq!(m.open_until(at("2026-03-29T00:59:59Z"), Tz::UTC), None);
    assert_eq!(
        m.open_until(at("2026-10-25T00:30:00Z"), Tz::UTC),
        Some(at("2026-10-25T02:30:00Z")),
        "from the first 2:30"
    );
}

#[test]
fn windows_without_a_gap_end_together() {
    let windows = vec![
        weekly(&[Weekday::Saturday, Weekday::Sunday], "00:00:00", "00:00:00"),
        Window::Once { from: "2026-11-23T00:00:00".parse().unwrap(), to: "2026-11-23T06:00:00".parse().unwrap() },
    ];
    let m = maintenance(windows, None);
    assert_eq!(m.open_until(at("2026-11-21T12:00:00Z"), Tz::UTC), Some(at("2026-11-23T06:00:00Z")));
    let always = maintenance(vec![weekly(&Weekday::ALL, "00:00:00", "00:00:00")], None);
    assert!(always.open_until(at("2026-11-21T12:00:00Z"), Tz::UTC).is_some(), "one that never ends is no endless loop");
}

#[test]
fn a_window_silences_what_it_names_only() {
    let scope = Scope { workflows: patterns(&["backup"]), ..Scope::default() };
    let m = Maintenance { scope, ..maintenance(vec![weekly(&Weekday::ALL, "00:00:00", "00:00:00")], None) };
    let now = at("2026-11-21T12:00:00Z");
    let none: [String; 0] = [];
    assert!(m.silences(&Subject::order("backup", None, &none), now, Tz::UTC).is_some());
    assert!(m.silences(&Subject::order("sales", None, &none), now, Tz::UTC).is_none());
    assert!(m.silences(&Subject::agent("etl"), now, Tz::UTC).is_none());
}

const FOLD: Span = Span::from_secs(300);

#[test]
fn the_first_alert_goes_at_once_and_repeats_are_folded() {
    let (mut thing, mut flood) = (Thing::default(), Flood::default());
    let start = at("2026-11-22T02:00:00Z");
    assert_eq!(route(FOLD, &mut thing, &mut flood, start), Route::Now);
    let until = start + TimeDelta::seconds(300);
    for s in [1, 60, 299] {
        assert_eq!(route(FOLD, &mut thing, &mut flood, start + TimeDelta::seconds(s)), Route::Fold { until });
    }
    assert_eq!(unfold(FOLD, 3, &mut thing, &mut flood, until), Some(Route::Now), "one mail for the three");
    let next = until + TimeDelta::seconds(300);
    assert_eq!(route(FOLD, &mut thing, &mut flood, until), Route::Fold { until: next }, "and it is quiet again");
    assert_eq!(unfold(FOLD, 0, &mut thing, &mut flood, next), None, "nothing came, nothing is said");
    assert_eq!(route(FOLD, &mut thing, &mut flood, next), Route::Now);
}

#[test]
fn other_things_do_not_wait_for_the_fold() {
    let (mut one, mut other, mut flood) = (Thing::default(), Thing::default(), Flood::default());
    let now = at("2026-11-22T02:00:00Z");
    assert_eq!(route(FOLD, &mut one, &mut flood, now), Route::Now);
    assert_eq!(route(FOLD, &mut other, &mut flood, now), Route::Now);
}

#[test]
fn without_a_fold_every_repeat_is_a_mail() {
    let (mut thing, mut flood) = (Thing::default(), Flood::default());
    let now = at("2026-11-22T02:00:00Z");
    assert_eq!(route(Span::from_millis(0), &mut thing, &mut flood, now), Route::Now);
    assert_eq!(route(Span::from_millis(0), &mut thing, &mut flood, now), Route::Now);
}

#[test]
fn more_than_twenty_a_minute_become_a_digest() {
    let mut flood = Flood::default();
    let start = at("2026-11-22T02:00:00Z");
    let tell =
        |flood: &mut Flood, ms: i64| route(FOLD, &mut Thing::default(), flood, start + TimeDelta::milliseconds(ms));
    for n in 0..MAILS_A_MINUTE as i64 {
        assert_eq!(tell(&mut flood, n * 10), Route::Now, "{n}");
    }
    let until = start + TimeDelta::seconds(60);
    for n in 20..1_000 {
        assert_eq!(tell(&mut flood, n * 10), Route::Digest { until }, "{n}");
    }
    flood.digest_sent(980, until);
    let next = until + TimeDelta::seconds(60);
    assert_eq!(tell(&mut flood, 60_500), Route::Digest { until: next }, "while it lasts, a digest a minute");
    flood.digest_sent(1, next);
    assert_eq!(tell(&mut flood, 121_000), Route::Now, "and when it is over, mails again");
}

#[test]
fn nineteen_a_minute_are_no_flood() {
    let mut flood = Flood::default();
    let start = at("2026-11-22T02:00:00Z");
    for n in 0..200 {
        let now = start + TimeDelta::milliseconds(n * 3_160);
        assert_eq!(flood.admit(now), None, "{n}");
    }
    assert!(flood.recent.len() <= MAILS_A_MINUTE);
}

#[test]
fn a_clock_that_went_back_does_not_stop_the_mails() {
    let mut flood = Flood::default();
    let start = at("2026-11-22T02:00:00Z");
    for _ in 0..MAILS_A_MINUTE {
        flood.admit(start);
    }
    assert_eq!(flood.admit(start - TimeDelta::days(1)), None);
}

#[test]
fn a_rule_is_read_again_as_it_was_stored() {
    let rule = Rule {
        notify: vec!["ops@example.org".parse().unwrap()],
        ..rule(
            Scope { workflows: patterns(&["nightly-*"]), ..Scope::default() },
            &[Trigger::Failed, Trigger::WaitsTooLong { longer_than: Span::from_secs(600) }],
        )
    };
    let text = serde_json::to_string(&rule).unwrap();
    assert_eq!(
        text,
        r#"{"name":"nights","workflows":["nightly-*"],"on":["failed",{"waits_too_long":{"longer_than":"10m"}}],"notify":["ops@example.org"],"fold":"5m","enabled":true}"#
    );
    assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), rule);
    let m = maintenance(vec![weekly(&[Weekday::Sunday], "02:00:00", "04:00:00")], Some(Tz::Asia__Tokyo));
    assert_eq!(serde_json::from_str::<Maintenance>(&serde_json::to_string(&m).unwrap()).unwrap(), m);
}
