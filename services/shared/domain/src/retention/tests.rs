use super::*;
use chrono::TimeZone;
use chrono::{TimeDelta, Timelike};

fn name() -> DefinitionName {
    DefinitionName::new(DEFAULT_NAME).unwrap()
}

fn window(days: &[Day], from: &str, to: &str, zone: chrono_tz::Tz) -> Window {
    Window { days: days.iter().copied().collect(), from: from.parse().unwrap(), to: to.parse().unwrap(), zone }
}

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

#[test]
fn a_window_is_open_from_its_beginning_until_just_before_its_end() {
    let night = Window::default();
    assert_eq!(night.closes(at("2026-11-25T00:59:59.999Z")), None);
    assert_eq!(night.closes(at("2026-11-25T01:00:00Z")), Some(at("2026-11-25T04:00:00Z")));
    assert_eq!(night.closes(at("2026-11-25T03:59:59.999Z")), Some(at("2026-11-25T04:00:00Z")));
    assert_eq!(night.closes(at("2026-11-25T04:00:00Z")), None);
    assert_eq!(night.opens(at("2026-11-25T00:00:00Z")), Some(at("2026-11-25T01:00:00Z")));
    assert_eq!(night.opens(at("2026-11-25T01:00:00Z")), Some(at("2026-11-26T01:00:00Z")));
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_on_which_it_opens() {
    let weekend = window(&[Day::Sat], "22:00", "04:00", chrono_tz::Europe::Berlin);
    // Saturday 28 November 2026, 22:00 in Berlin.
    assert_eq!(weekend.closes(at("2026-11-28T21:00:00Z")), Some(at("2026-11-29T03:00:00Z")));
    assert_eq!(weekend.closes(at("2026-11-29T02:00:00Z")), Some(at("2026-11-29T03:00:00Z")));
    assert_eq!(weekend.closes(at("2026-11-29T21:30:00Z")), None);
    assert_eq!(weekend.opens(at("2026-11-29T12:00:00Z")), Some(at("2026-12-05T21:00:00Z")));
}

#[test]
fn the_same_time_twice_is_a_whole_day_and_days_in_a_row_are_one_window() {
    let always = window(&Day::ALL, "00:00", "00:00", chrono_tz::UTC);
    let now = at("2026-11-25T10:00:00Z");
    assert!(always.closes(now).unwrap() > now + TimeDelta::days(6));
    let monday = window(&[Day::Mon], "06:00", "06:00", chrono_tz::UTC);
    assert_eq!(monday.closes(at("2026-11-24T05:59:00Z")), Some(at("2026-11-24T06:00:00Z")));
}

#[test]
fn without_days_it_never_opens_by_itself() {
    let never = window(&[], "01:00", "04:00", chrono_tz::UTC);
    assert_eq!((never.closes(at("2026-11-25T02:00:00Z")), never.opens(at("2026-11-25T02:00:00Z"))), (None, None));
}

#[test]
fn a_time_that_the_clocks_skip_is_the_first_instant_after_the_gap() {
    // Berlin, 29 March 2026: 02:00 to 03:00 does not exist; 03:00 is 01:00Z.
    let night = window(&Day::ALL, "02:30", "05:00", chrono_tz::Europe::Berlin);
    assert_eq!(night.opens(at("2026-03-28T12:00:00Z")), Some(at("2026-03-29T01:00:00Z")));
    assert_eq!(night.closes(at("2026-03-29T01:00:00Z")), Some(at("2026-03-29T03:00:00Z")));
    // All of it lies in the gap: that night it does not open.
    let short = window(&Day::ALL, "02:10", "02:50", chrono_tz::Europe::Berlin);
    assert_eq!(short.opens(at("2026-03-28T12:00:00Z")), Some(at("2026-03-30T00:10:00Z")));
}

#[test]
fn a_time_that_exists_twice_is_the_first() {
    // Berlin, 25 October 2026: 02:30 is 00:30Z and 01:30Z.
    let night = window(&Day::ALL, "02:30", "05:00", chrono_tz::Europe::Berlin);
    assert_eq!(night.opens(at("2026-10-24T12:00:00Z")), Some(at("2026-10-25T00:30:00Z")));
    assert_eq!(night.closes(at("2026-10-25T01:30:00Z")), Some(at("2026-10-25T04:00:00Z")));
    let before = window(&Day::ALL, "01:00", "02:30", chrono_tz::Europe::Berlin);
    assert_eq!(before.closes(at("2026-10-24T23:30:00Z")), Some(at("2026-10-25T00:30:00Z")));
}

/// Minute by minute, by the wall clock alone: what a person at the window would see. Within a repeated hour the wall
/// clock cannot tell, so those minutes are left out.
#[test]
fn the_window_agrees_with_the_wall_clock_over_changes_of_the_clocks_in_five_zones() {
    let zones = [
        (chrono_tz::Europe::Berlin, "2026-03-28T00:00:00Z", "2026-10-24T00:00:00Z"),
        (chrono_tz::America::New_York, "2026-03-07T00:00:00Z", "2026-10-31T00:00:00Z"),
        (chrono_tz::Australia::Lord_Howe, "2026-04-04T00:00:00Z", "2026-10-03T00:00:00Z"),
        (chrono_tz::America::Santiago, "2026-04-04T00:00:00Z", "2026-09-05T00:00:00Z"),
        (chrono_tz::Africa::Casablanca, "2026-02-14T00:00:00Z", "2026-03-21T00:00:00Z"),
    ];
    let windows = [("01:00", "04:00"), ("23:30", "02:15"), ("02:10", "02:20"), ("00:00", "03:00")];
    for (zone, first, second) in zones {
        for (from, to) in windows {
            let asked = window(&[Day::Sun, Day::Wed], from, to, zone);
            for start in [first, second] {
                for minute in 0..3 * 24 * 60 {
                    let now = at(start) + TimeDelta::minutes(minute);
                    let local = now.with_timezone(&zone).naive_local();
                    if !matches!(zone.from_local_datetime(&local), chrono::LocalResult::Single(_)) {
                        continue;
                    }
                    let ends_repeated = |d: chrono::NaiveDate, t: Time| {
                        let local = d.and_hms_opt(u32::from(t.hour()), u32::from(t.minute()), 0).unwrap();
                        matches!(zone.from_local_datetime(&local), chrono::LocalResult::Ambiguous(..))
                    };
                    let dates = [local.date().pred_opt().unwrap(), local.date(), local.date().succ_opt().unwrap()];
                    if dates.iter().any(|d| ends_repeated(*d, asked.from) || ends_repeated(*d, asked.to)) {
                        continue;
                    }
                    let minutes = local.hour() * 60 + local.minute();
                    let of = |t: Time| u32::from(t.hour()) * 60 + u32::from(t.minute());
                    let opens_on = |d: chrono::NaiveDate| {
                        use chrono::Datelike;
                        matches!(d.weekday(), chrono::Weekday::Sun | chrono::Weekday::Wed)
                    };
                    let (today, yesterday) = (local.date(), local.date().pred_opt().unwrap());
                    let open = if asked.from < asked.to {
                        opens_on(today) && minutes >= of(asked.from) && minutes < of(asked.to)
                    } else {
                        opens_on(today) && minutes >= of(asked.from) || opens_on(yesterday) && minutes < of(asked.to)
                    };
                    assert_eq!(asked.closes(now).is_some(), open, "{zone} {from}-{to} at {local}");
                }
            }
        }
    }
}

#[test]
fn a_kind_that_is_not_given_keeps_its_default() {
    let mut retention = Retention::of_defaults(name());
    retention.keep.insert(RetentionKind::Plan, Keep::Forever);
    let now = at("2026-11-25T00:00:00Z");
    assert_eq!(retention.cut_off(RetentionKind::Orders, now), Some(at("2026-08-27T00:00:00Z")));
    assert_eq!(retention.cut_off(RetentionKind::Plan, now), None);
    assert_eq!(retention.cut_off(RetentionKind::FailedOrders, now), None, "failed orders stay until somebody decides");
}

#[test]
fn every_default_is_safe_and_no_kind_is_forgotten() {
    let mut seen = std::collections::BTreeSet::new();
    for kind in RetentionKind::ALL {
        assert_eq!(kind.check(kind.default_keep()), Ok(()), "{kind}");
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
        assert!(seen.insert(kind));
    }
}

#[test]
fn what_is_unsafe_is_refused_and_never_used_even_from_a_body() {
    let day = Keep::For(Span::from_secs(86_400));
    let error = RetentionKind::Reports.check(day).unwrap_err().to_string();
    assert!(error.contains("less than 4d") && error.contains("claim"), "{error}");
    let error = RetentionKind::Output.check(Keep::Forever).unwrap_err().to_string();
    assert!(error.contains("longer than 2d"), "{error}");
    let mut retention = Retention::of_defaults(name());
    retention.keep.insert(RetentionKind::Reports, day);
    let now = at("2026-11-25T00:00:00Z");
    assert_eq!(retention.cut_off(RetentionKind::Reports, now), Some(at("2026-11-21T00:00:00Z")));
    assert_eq!(retention.check().len(), 1);
}

#[test]
fn times_and_keeps_are_written_as_people_write_them() {
    for text in ["00:00", "01:30", "23:59"] {
        assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
    }
    for text in ["24:00", "1:30", "01:60", "0130", "", "01:30:00", "+1:30"] {
        assert!(text.parse::<Time>().is_err(), "{text}");
    }
    assert_eq!("forever".parse::<Keep>().unwrap(), Keep::Forever);
    assert_eq!("90d".parse::<Keep>().unwrap().to_string(), "90d");
    assert!("always".parse::<Keep>().is_err());
}

#[test]
fn a_body_reads_back_as_it_was_written() {
    let mut retention = Retention::of_defaults(name());
    retention.keep.insert(RetentionKind::Orders, "30d".parse().unwrap());
    let json = serde_json::to_string(&retention).unwrap();
    assert_eq!(serde_json::from_str::<Retention>(&json).unwrap(), retention);
    assert!(json.contains(r#""keep":{"orders":"30d"}"#) && json.contains(r#""from":"01:00""#), "{json}");
}
