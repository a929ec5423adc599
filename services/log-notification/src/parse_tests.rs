use super::*;

fn receipt(at: &str) -> Receipt {
    Receipt {
        at: DateTime::parse_from_rfc3339(at).unwrap().to_utc(),
        zone: FixedOffset::east_opt(3600).unwrap(),
        sender: "192.0.2.7".parse().unwrap(),
    }
}

fn at(text: &str) -> Option<Instant> {
    Some(DateTime::parse_from_rfc3339(text).unwrap().to_utc())
}

/// Severity, host, application, process, text.
fn short(text: &str) -> (Severity, String, String, Option<String>, String) {
    let it = receipt("2026-11-25T10:00:00Z");
    let it = parse(text, &it);
    (it.severity, it.host.into(), it.application.into(), it.process.map(Into::into), it.text.into())
}

fn facts(
    severity: Severity,
    host: &str,
    application: &str,
    process: &str,
    text: &str,
) -> (Severity, String, String, Option<String>, String) {
    let process = Some(process.to_owned()).filter(|p| !p.is_empty());
    (severity, host.into(), application.into(), process, text.into())
}

#[test]
fn rfc_5424_is_read() {
    let text = "<165>1 2003-10-11T22:14:15.003+02:00 mymachine.example.com evntslog 77 ID47 [exampleSDID@32473 iut=\"3\"] \u{feff}An event";
    let it = receipt("2026-11-25T10:00:00Z");
    let it = parse(text, &it);
    assert_eq!(it.severity, Severity::Notice);
    assert_eq!(it.facility, Some("local4"));
    assert_eq!((it.host.as_ref(), it.application.as_ref()), ("mymachine.example.com", "evntslog"));
    assert_eq!((it.process.as_deref(), it.message_id.as_deref()), (Some("77"), Some("ID47")));
    assert_eq!(it.sent_at, at("2003-10-11T20:14:15.003Z"));
    assert_eq!(it.text, "An event");
    assert_eq!(short("<11>1 - - - - - - gone"), facts(Severity::Error, "192.0.2.7", "-", "", "gone"));
}

#[test]
fn rfc_3164_is_read_in_the_forms_that_are_around() {
    let cases = [
        (
            "<34>Oct 11 22:14:15 mymachine su[42]: 'su root' failed",
            facts(Severity::Critical, "mymachine", "su", "42", "'su root' failed"),
        ),
        ("<13>Nov  5 10:00:01 host root: text: more", facts(Severity::Notice, "host", "root", "", "text: more")),
        (
            "<12>Nov 25 10:00:01 kernel: out of memory",
            facts(Severity::Warning, "192.0.2.7", "kernel", "", "out of memory"),
        ),
        ("<11>just a text", facts(Severity::Error, "192.0.2.7", "-", "", "just a text")),
        ("<11>cron[7]: no time in it", facts(Severity::Error, "192.0.2.7", "cron", "7", "no time in it")),
        (
            "<11>Feb 30 25:61:61 host x: odd",
            facts(Severity::Error, "192.0.2.7", "-", "", "Feb 30 25:61:61 host x: odd"),
        ),
        ("no priority", facts(Severity::Notice, "192.0.2.7", "-", "", "no priority")),
        ("<999>x", facts(Severity::Notice, "192.0.2.7", "-", "", "<999>x")),
        ("<>", facts(Severity::Notice, "192.0.2.7", "-", "", "<>")),
        ("", facts(Severity::Notice, "192.0.2.7", "-", "", "")),
    ];
    for (text, expected) in cases {
        assert_eq!(short(text), expected, "{text}");
    }
}

#[test]
fn a_time_without_zone_and_year_is_that_of_this_machine_and_the_nearest() {
    let sent = |now: &str, text: &str| parse(text, &receipt(now)).sent_at;
    assert_eq!(sent("2026-11-25T10:00:00Z", "<1>Nov 25 11:00:00 h a: t"), at("2026-11-25T10:00:00Z"));
    assert_eq!(sent("2027-01-01T00:00:05Z", "<1>Dec 31 23:59:58 h a: t"), at("2026-12-31T22:59:58Z"));
    assert_eq!(sent("2026-12-31T23:30:00Z", "<1>Jan  1 00:30:00 h a: t"), at("2026-12-31T23:30:00Z"));
    // 23:30 UTC is next year here.
    assert_eq!(sent("2026-12-31T22:59:00Z", "<1>Jan  1 00:30:00 h a: t"), at("2026-12-31T23:30:00Z"));
}

#[test]
fn odd_times_of_senders_do_no_harm() {
    for time in ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "2026-11-25T10:00:60Z", "2026-13-01T00:00:00Z"] {
        let text = format!("<11>1 {time} h a - - - t");
        let it = parse(&text, &receipt("2026-11-25T10:00:00Z")).sent_at;
        assert!(it.is_none_or(|at| (1970..10_000).contains(&at.year())), "{time}: {it:?}");
        assert_eq!(short(&text).0, Severity::Error, "{time}");
    }
    assert!(parse("<11>Nov 25 262142 23:59:59 h a: t", &receipt("2026-11-25T10:00:00Z")).sent_at.is_none());
}

#[test]
fn names_and_texts_are_clean_and_short() {
    let (_, host, application, _, text) = short("<11>1 - h\x1b[2Jost ap\u{202e}p - - - te\0xt");
    assert_eq!((host.as_str(), application.as_str(), text.as_str()), ("h\\u{1b}[2Jost", "ap\\u{202e}p", "te\\u{0}xt"));
    let long = format!("<11>1 - {} {} - - - t", "h".repeat(3_000), "a".repeat(3_000));
    let (_, host, application, ..) = short(&long);
    assert_eq!((host.len(), application.len()), (255, 128));
}

#[test]
fn nobody_outside_speaks_as_ordo() {
    assert_eq!(short("<11>1 - h Ordo-controller - - - t").2, "syslog/Ordo-controller");
    assert_eq!(short("<11>1 - h ordonnance - - - t").2, "ordonnance");
}
