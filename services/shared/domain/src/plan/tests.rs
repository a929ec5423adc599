use super::{
    reference_tests::{Written, starts as reference_starts},
    *,
};
use crate::{Instant, definition, workflow::LateAction};
use chrono::{NaiveDate, TimeDelta};
use chrono_tz::Tz;

fn schedule(yaml: &str) -> Schedule {
    let text = format!("schedule: s\nworkflow: w\n{yaml}\n");
    let compiled = definition::read("s.yaml", &text).unwrap_or_else(|p| panic!("{p:#?}"));
    match compiled.items.into_iter().next().map(|item| item.definition) {
        Some(definition::Definition::Catalog(crate::catalog::CatalogDefinition::Schedule(schedule))) => schedule,
        other => panic!("{other:?}"),
    }
}

fn problem(yaml: &str) -> String {
    let text = format!("schedule: s\nworkflow: w\n{yaml}\n");
    let problems = definition::read("s.yaml", &text).unwrap_err();
    problems
        .iter()
        .map(|p| format!("{p}{}\n", p.help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default()))
        .collect()
}

fn utc(text: &str) -> Instant {
    format!("{text}Z").parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// As the clocks of the zone show them, with the offset.
fn shown(yaml: &str, zone: Tz, from: &str, to: &str) -> Vec<String> {
    let schedule = schedule(yaml);
    let instants = schedule.instants(zone, utc(from), utc(to));
    instants.map(|at| at.with_timezone(&zone).format("%a %d %H:%M:%S %z").to_string()).collect()
}

fn cron(text: &str) -> String {
    format!("times: [{{ cron: \"{text}\" }}]")
}

const BERLIN: Tz = chrono_tz::Europe::Berlin;

#[test]
fn a_time_that_the_clock_leaves_out_starts_at_the_first_instant_behind_the_gap() {
    let spring = |yaml: &str| shown(yaml, BERLIN, "2026-03-28T12:00:00", "2026-03-30T12:00:00");
    assert_eq!(spring(&cron("30 2 * * *")), ["Sun 29 03:00:00 +0200", "Mon 30 02:30:00 +0200"]);
    // Several that are left out are one start, also with what is due then anyway.
    let one = ["Sun 29 03:00:00 +0200", "Mon 30 02:10:00 +0200", "Mon 30 02:50:00 +0200", "Mon 30 03:00:00 +0200"];
    assert_eq!(spring("times: [{ at: [\"02:10\", \"02:50\", \"03:00\"] }]"), one);
    assert_eq!(spring("times: [{ cron: \"10,50 2 * * *\" }, { at: [\"03:00\"] }]"), one);
}

#[test]
fn a_time_that_the_clock_shows_twice_starts_once_at_the_first() {
    let autumn = |yaml: &str| shown(yaml, BERLIN, "2026-10-24T12:00:00", "2026-10-25T12:00:00");
    assert_eq!(autumn(&cron("30 2 * * *")), ["Sun 25 02:30:00 +0200"]);
    assert_eq!(autumn(&cron("0 1-4 * * *")).len(), 4);
    assert_eq!(autumn(&cron("0 3 * * *")), ["Sun 25 03:00:00 +0100"]);
    // From between the two: it has been.
    let late = shown(&cron("30 2 * * *"), BERLIN, "2026-10-25T01:15:00", "2026-10-25T12:00:00");
    assert!(late.is_empty(), "{late:?}");
}

#[test]
fn a_rule_with_a_step_in_its_hour_follows_elapsed_time() {
    let autumn = shown(&cron("0 */1 * * *"), BERLIN, "2026-10-24T23:30:00", "2026-10-25T02:00:00");
    assert_eq!(autumn, ["Sun 25 02:00:00 +0200", "Sun 25 02:00:00 +0100", "Sun 25 03:00:00 +0100"]);
    let spring = shown(&cron("0 * * * *"), BERLIN, "2026-03-28T23:30:00", "2026-03-29T02:00:00");
    assert_eq!(spring, ["Sun 29 01:00:00 +0100", "Sun 29 03:00:00 +0200", "Sun 29 04:00:00 +0200"]);
    // Every hour, however it is written.
    let every = |text: &str| shown(&cron(text), BERLIN, "2026-10-24T12:00:00", "2026-10-25T12:00:00");
    assert_eq!(every("0 0-23 * * *"), every("0 * * * *"));
    assert_eq!(every("*/5 * * * * *").len(), 24 * 720);
}

#[test]
fn half_an_hour_is_a_change_too() {
    let zone = chrono_tz::Australia::Lord_Howe;
    let spring = shown(&cron("15 2 * * *"), zone, "2026-10-03T00:00:00", "2026-10-04T00:00:00");
    assert_eq!(spring, ["Sun 04 02:30:00 +1100"]);
    let autumn = shown(&cron("45 1 * * *"), zone, "2026-04-04T00:00:00", "2026-04-05T00:00:00");
    assert_eq!(autumn, ["Sun 05 01:45:00 +1100"]);
    let halves = shown(&cron("0,30 * * * *"), zone, "2026-04-04T14:15:00", "2026-04-04T15:45:00");
    assert_eq!(halves, ["Sun 05 01:30:00 +1100", "Sun 05 01:30:00 +1030", "Sun 05 02:00:00 +1030"]);
}

#[test]
fn midnight_that_the_clock_leaves_out_is_made_up_for_at_one() {
    let zone = chrono_tz::America::Sao_Paulo;
    let spring = shown(&cron("0 0 * * *"), zone, "2018-11-03T12:00:00", "2018-11-05T12:00:00");
    assert_eq!(spring, ["Sun 04 01:00:00 -0200", "Mon 05 00:00:00 -0200"]);
    // The last hour of a Saturday comes twice: a rule for Saturdays does not care.
    let autumn =
        shown("times: [{ at: [\"23:30\"], weekdays: [sat] }]", zone, "2018-02-17T12:00:00", "2018-02-18T12:00:00");
    assert_eq!(autumn, ["Sat 17 23:30:00 -0200"]);
    // A day that was left out altogether.
    let samoa = shown(&cron("0 6 * * *"), chrono_tz::Pacific::Apia, "2011-12-29T00:00:00", "2011-12-31T00:00:00");
    assert_eq!(samoa, ["Thu 29 06:00:00 -1000", "Sat 31 00:00:00 +1400", "Sat 31 06:00:00 +1400"]);
}

#[test]
fn two_restricted_day_fields_are_one_or_the_other() {
    let days = |text: &str| shown(&cron(text), Tz::UTC, "2026-11-01T00:00:01", "2026-11-19T23:59:59");
    let of = |texts: &[String]| texts.iter().map(|t| t[..6].to_owned()).collect::<Vec<_>>();
    assert_eq!(of(&days("0 0 13 * 5")), ["Fri 06", "Fri 13"]);
    assert_eq!(of(&days("0 0 10 * 5")), ["Fri 06", "Tue 10", "Fri 13"]);
    // A field that begins with `*` is none that is restricted, as crontab(5) says.
    assert_eq!(of(&days("0 0 */2 * 5")), ["Fri 13"]);
    assert_eq!(of(&days("0 0 * * 0")), of(&days("0 0 * * 7")));
    assert_eq!(of(&days("0 0 * * sat-7")), ["Sat 07", "Sun 08", "Sat 14", "Sun 15"]);
    assert_eq!(of(&days("0 0 0 2-4 11 * 2026")), ["Mon 02", "Tue 03", "Wed 04"]);
    // From a number on means up to the end, and 7 is the end of the week.
    assert_eq!(of(&days("0 0 * * 5/2")), ["Fri 06", "Sun 08", "Fri 13", "Sun 15"]);
}

#[test]
fn days_left_out_and_days_out_of_validity_have_no_start() {
    let yaml = "times: [{ cron: \"0 0 6 * * * 2026-2027\" }]\nexcept: [2026-12-25]\nvalid: { from: 2026-12-24, to: 2026-12-27 }";
    let found = shown(yaml, Tz::UTC, "2026-01-01T00:00:00", "2028-01-01T00:00:00");
    assert_eq!(found.iter().map(|t| &t[..6]).collect::<Vec<_>>(), ["Thu 24", "Sat 26", "Sun 27"]);
    // Far apart and rare: found without looking at every second of 800 years.
    let leap = shown(&cron("0 0 29 2 *"), Tz::UTC, "2026-01-01T00:00:00", "2800-01-01T00:00:00");
    assert_eq!(leap.len(), 774 / 4 - 6 + 1 - 1);
}

#[test]
fn starts_are_whole_instants_within_the_limit() {
    let two =
        "zone: Asia/Tokyo\ntimes: [{ cron: \"0 7 * * *\" }]\norders: [{ name: small }, { name: large, priority: 3 }]";
    let schedule = schedule(two);
    let (from, to) = (utc("2026-11-01T00:00:00"), utc("2026-11-08T00:00:00"));
    let starts = schedule.starts(BERLIN, from, to, 5);
    let names: Vec<&str> = starts.iter().map(|s| s.parameterisation.name.as_str()).collect();
    assert_eq!(names, ["small", "large", "small", "large"]);
    // 07:00 in Tokyo is still the evening before at the site.
    assert_eq!(starts[0].instant, utc("2026-11-01T22:00:00"));
    assert_eq!(starts[0].business_day, NaiveDate::from_ymd_opt(2026, 11, 1).unwrap());
    assert_eq!(schedule.starts(BERLIN, from, to, 1).len(), 2);
    let order = schedule.order(&starts[1]);
    assert_eq!(order.name.as_deref(), Some("w-large"));
    assert_eq!((order.due_at, order.priority), (Some(starts[1].instant), Some(3)));
    let key = order.start.unwrap();
    assert_eq!((key.schedule.as_str(), key.parameterisation.as_str()), ("s", "large"));
}

#[test]
fn an_order_of_the_journal_is_known_again_by_what_was_asked() {
    let s =
        schedule("times: [{ at: [06:00] }]\norders: [{ name: a, arguments: { keep: 3 }, tags: [night], priority: 2 }]");
    let wanted = s.template(&s.orders[0]);
    let mut found = wanted.clone();
    found.arguments.insert(crate::VariableName::new("day").unwrap(), "default".into());
    found.tags.insert("of the workflow".into());
    found.title = Some("of the workflow".into());
    assert!(is_as_wanted(&found, &wanted));
    for other in [
        NewOrder { priority: Some(0), ..found.clone() },
        NewOrder { overlap: Overlap::Skip, ..found.clone() },
        NewOrder { arguments: Arguments::new(), ..found.clone() },
        NewOrder { tags: BTreeSet::new(), ..found.clone() },
    ] {
        assert!(!is_as_wanted(&other, &wanted), "{other:?}");
    }
}

/// Chance that is the same each time.
struct Dice(u64);

impl Dice {
    fn upto(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn field(&mut self, least: u64, most: u64, star: u64) -> String {
        if self.upto(100) < star {
            return if self.upto(3) == 0 { format!("*/{}", 1 + self.upto(most)) } else { "*".to_owned() };
        }
        let parts = 1 + self.upto(3);
        let part = |dice: &mut Self| {
            let first = least + dice.upto(most - least + 1);
            match dice.upto(4) {
                0 | 1 => first.to_string(),
                2 => format!("{first}-{}", first + dice.upto(most - first + 1)),
                _ if most > 1000 => first.to_string(),
                _ => format!("{first}/{}", 1 + dice.upto(most)),
            }
        };
        (0..parts).map(|_| part(self)).collect::<Vec<_>>().join(",")
    }

    fn cron(&mut self) -> String {
        // Mostly in the hours in which clocks change.
        let hours = if self.upto(3) > 0 { (0, 3) } else { (0, 23) };
        let mut fields = vec![self.field(0, 59, 30), self.field(hours.0, hours.1, 40)];
        fields.push(self.field(1, 31, 70));
        fields.push(self.field(1, 12, 85));
        fields.push(match self.upto(8) {
            0 => "Sun,mon-WED".to_owned(),
            1 => "sat-7".to_owned(),
            _ => self.field(0, 7, 60),
        });
        if self.upto(2) == 0 {
            let seconds = self.field(0, 59, 10);
            fields.insert(0, seconds);
            if self.upto(4) == 0 {
                fields.push("2011-2018,2023,2026".to_owned());
            }
        }
        fields.join(" ")
    }

    fn rule(&mut self) -> Written {
        if self.upto(4) > 0 {
            return Written::Cron(self.cron());
        }
        let time = |dice: &mut Self| {
            let hour = if dice.upto(2) == 0 { dice.upto(4) } else { dice.upto(24) };
            format!("{hour:02}:{:02}:{:02}", dice.upto(60), dice.upto(60) * dice.upto(2))
        };
        let times = (0..1 + self.upto(4)).map(|_| time(self)).collect();
        let days = (0..7).filter(|_| self.upto(4) > 0).collect::<Vec<u32>>();
        Written::At(times, if days.is_empty() { vec![0] } else { days })
    }
}

fn yaml(rules: &[Written]) -> String {
    let day = |n: &u32| ["sun", "mon", "tue", "wed", "thu", "fri", "sat"][*n as usize];
    let line = |rule: &Written| match rule {
        Written::Cron(text) => format!("  - cron: \"{text}\"\n"),
        Written::At(times, days) => {
            let days: Vec<&str> = days.iter().map(day).collect();
            format!("  - at: {times:?}\n    weekdays: [{}]\n", days.join(", "))
        }
    };
    format!("times:\n{}", rules.iter().map(line).collect::<String>())
}

/// Around the changes of the clocks of six zones, and where nothing changes.
#[test]
fn rules_agree_with_the_slow_reference_over_changes_of_the_clock() {
    let windows = [
        ("Europe/Berlin", "2026-03-29T01:00:00"),
        ("Europe/Berlin", "2026-10-25T01:00:00"),
        ("America/New_York", "2026-03-08T07:00:00"),
        ("America/New_York", "2026-11-01T06:00:00"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00"),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00"),
        ("America/Sao_Paulo", "2018-02-18T02:00:00"),
        ("America/Sao_Paulo", "2018-11-04T03:00:00"),
        ("Africa/Cairo", "2023-04-27T22:00:00"),
        ("Africa/Cairo", "2023-10-26T21:00:00"),
        ("Pacific/Apia", "2011-12-30T10:00:00"),
        ("Asia/Tokyo", "2026-06-15T03:00:00"),
    ];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut compared = 0;
    for round in 0..windows.len() * 5 {
        let (zone, change) = windows[round % windows.len()];
        let (zone, change): (Tz, Instant) = (zone.parse().unwrap(), utc(change));
        let rules: Vec<Written> = (0..1 + dice.upto(3)).map(|_| dice.rule()).collect();
        let text = yaml(&rules);
        let mut schedule = match definition::read("s.yaml", &format!("schedule: s\nworkflow: w\n{text}")) {
            Ok(_) => schedule(&text),
            // 31 February.
            Err(problems) if problems.iter().all(|p| p.message.contains("never comes")) => continue,
            Err(problems) => panic!("{text}: {problems:#?}"),
        };
        let local = change.with_timezone(&zone).date_naive();
        if dice.upto(4) == 0 {
            schedule.except.insert(local);
        }
        if dice.upto(4) == 0 {
            schedule.valid = Validity { from: Some(local), to: Some(local) };
        }
        let from = change - TimeDelta::seconds(dice.upto(12 * 3600) as i64);
        let to = change + TimeDelta::seconds(dice.upto(12 * 3600) as i64);
        let found: Vec<Instant> = schedule.instants(zone, from, to).collect();
        let is_day =
            |time: chrono::NaiveDateTime| schedule.valid.has(time.date()) && !schedule.except.contains(&time.date());
        let expected = reference_starts(&rules, zone, from, to, is_day);
        let differs = found.iter().zip(&expected).find(|(a, b)| a != b);
        assert!(found == expected, "{zone} {from} to {to}\n{text}{differs:?} {} {}", found.len(), expected.len());
        compared += expected.len();
    }
    assert!(compared > 1_000, "only {compared} starts were compared");
}

/// Whatever the steps are in which time is looked at, the starts are the same.
#[test]
fn starts_do_not_depend_on_how_time_is_cut() {
    let mut dice = Dice(77);
    for (zone, change) in [(BERLIN, "2026-10-25T01:00:00"), (BERLIN, "2026-03-29T01:00:00")] {
        for text in ["*/7 * * * *", "*/20 0-3 * * *", "30 2 * * *", "0 2,3 * * *"] {
            let schedule = schedule(&cron(text));
            let (mut at, to) = (utc(change) - TimeDelta::hours(5), utc(change) + TimeDelta::hours(5));
            let whole: Vec<Instant> = schedule.instants(zone, at, to).collect();
            let mut parts = Vec::new();
            while at < to {
                let next = (at + TimeDelta::milliseconds(1 + dice.upto(2_000_000) as i64)).min(to);
                parts.extend(schedule.instants(zone, at, next));
                at = next;
            }
            assert_eq!(whole, parts, "{text}");
        }
    }
}

#[test]
fn a_schedule_is_read_with_its_defaults() {
    let s = schedule("times: [{ at: [06:00] }]");
    assert_eq!((s.plan_ahead, s.submit_ahead, s.max_starts), (PLAN_AHEAD, SUBMIT_AHEAD, 1_000));
    assert_eq!((s.overlap, s.late, s.orders.len()), (Overlap::Start, None, 1));
    assert_eq!(s.orders[0].name.as_str(), "default");
    let s = schedule(
        "title: 夜間\nzone: Asia/Tokyo\ntimes:\n  - cron: \" 0  2 * * mon-fri \"\n  - at: [\"18:30:15\", 06:00]\n    weekdays: [sat-mon]\n\
         except: [2026-12-25]\nvalid: { from: 2026-01-01 }\nlate: { grace: 2h, then: skip }\noverlap: wait\nplan_ahead: 2h\n\
         orders: [{ name: a, arguments: { keep: 3, deep: [1, { x: true }] }, tags: [t], priority: -1, title: A }]",
    );
    assert_eq!((s.plan_ahead, s.submit_ahead), (Span::from_secs(7200), Span::from_secs(7200)));
    assert_eq!(s.late.map(|l| l.then), Some(LateAction::Skip));
    assert_eq!(s.overlap, Overlap::Wait);
    let json = serde_json::to_value(&s).unwrap();
    assert_eq!(json["times"][0]["cron"], "0 2 * * mon-fri");
    assert_eq!(
        json["times"][1]["at"],
        serde_json::json!({ "times": ["06:00", "18:30:15"], "weekdays": ["mon", "sat", "sun"] })
    );
    assert_eq!(serde_json::from_value::<Schedule>(json).unwrap(), s);
}

#[test]
fn what_is_wrong_in_a_schedule_is_said_at_its_place() {
    let said = |yaml: &str, expected: &[&str]| {
        let found = problem(yaml);
        for text in expected {
            assert!(found.contains(text), "{yaml}\n{found}");
        }
    };
    said("tmes: []", &["s.yaml:3:1: tmes is not known in a schedule (did you mean times?)", "has no times"]);
    said(&cron("0 25 * * *"), &["s.yaml:3:20: \"25\" is no hour (an hour is a number from 0 to 23)"]);
    said(&cron("* * * *"), &["has 5, 6 or 7 fields, not 4"]);
    said(&cron("0 0 * * fri-mon"), &["the weekday range fri-mon goes downward"]);
    said(&cron("0 0 ? * 1"), &["(write * for any day)"]);
    said(&cron("0 0 30 2 *"), &["day 30 never comes in the months 2"]);
    said(&cron("*/0 0 * * *"), &["the step of */0"]);
    said(&cron("@daily"), &["\"@daily\" is no cron expression here"]);
    said("times: []", &["times is empty"]);
    said("times: [{ at: [\"24:00\"] }]", &["\"24:00\" is not a time of day"]);
    said("times: [{ at: [], weekdays: [mo] }]", &["at is empty", "\"mo\" is not a weekday"]);
    said("times: [{ cron: \"0 0 * * *\", at: [\"01:00\"] }]", &["an entry has cron or at, not both"]);
    said("times: [{ weekdays: [mon] }]", &["an entry of times without a time"]);
    said("times: [{ at: [\"01:00\"] }]\nsubmit_ahead: 30d", &["longer than plan_ahead"]);
    said("times: [{ at: [\"01:00\"] }]\nvalid: { from: 2027-01-01, to: 2026-01-01 }", &["before it begins"]);
    said("times: [{ at: [\"01:00\"] }]\nexcept: [25.12.2026]", &["\"25.12.2026\" is not a date"]);
    said("times: [{ at: [\"01:00\"] }]\norders: [{ name: a }, { name: a }]", &["the order a is there twice"]);
    said(
        "times: [{ at: [\"01:00\"] }]\norders: [{ name: a, arguments: { d: \"${ order.id }\" } }]",
        &["s.yaml:4:38: nothing is filled in here"],
    );
    said(
        "times: [{ at: [\"01:00\"] }]\nmax_starts: 1\norders: [{ name: a }, { name: b }]",
        &["each start has 2 orders"],
    );
}
