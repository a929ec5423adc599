use super::{
    compose::{self, Context},
    message::{Envelope, build, message_id},
    *,
};
use chrono::{DateTime, TimeDelta};
use chrono_tz::Tz;
use ordo_domain::{Instant, alert::Kind};
use ordo_testkit::smtp::ReceivedMail;

fn at(text: &str) -> Instant {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn desk() -> Desk {
    Desk { site: "prod".into(), zone: Tz::Asia__Tokyo }
}

fn context() -> Context {
    Context { rule: "nights".into(), replies_to: None }
}

pub(crate) fn failed() -> Incident {
    let order = OrderFacts {
        order: Some("20261122-P7-nightly-sales".into()),
        workflow: "nightly-sales".into(),
        version: Some(12),
        title: Some("売上の夜間集計".into()),
        folder: Some("finance/sales".into()),
        tags: vec!["finance".into()],
        business_day: "2026-11-22".parse().ok(),
        position: Some("loads:west/load".into()),
        failed_order: Some("20261122-P7-nightly-sales:west".into()),
        attempt: Some(4),
        agent: Some("etl".into()),
        instance: Some("e1".into()),
        due_at: Some(at("2026-11-22T02:00:00+09:00")),
        started_at: Some(at("2026-11-22T02:00:00+09:00")),
        schedule: Some("nightly".into()),
        ..OrderFacts::default()
    };
    Incident {
        id: "20261121-48213-0".into(),
        kind: Kind::Failed,
        at: at("2026-11-22T02:14:09+09:00"),
        object: Object::Order(Box::new(order)),
        text: "exit code 75".into(),
        recovered_at: None,
    }
}

pub(crate) fn background() -> Background {
    let log = "connecting to db-west.example:5432\nretry 1: connection refused\nretry 2: connection refused\n\
        retry 3: connection refused\nConnectionError: could not connect to server\n  File \"load.py\", line 112, in connect\n    \
        raise ConnectionError(last)\n\x1b[31mload: giving up after 3 tries\x1b[0m\nrows=0\nexit 75\n";
    Background {
        last_good: Some(LastGood {
            order: "20261121-P5-nightly-sales".into(),
            ended_at: at("2026-11-21T02:22:41+09:00"),
            took: Some(TimeDelta::minutes(22)),
        }),
        changes: vec![
            "workflow v11 → v12, deployed 2026-11-21 17:30 by tanaka".into(),
            "day: 2026-11-21 → 2026-11-22".into(),
        ],
        log: Some(LogTail { of: "load, attempt 4".into(), lines: clean::tail(log, 10, 200), cut: true }),
    }
}

fn order_mut(incident: &mut Incident) -> &mut OrderFacts {
    match &mut incident.object {
        Object::Order(order) => order,
        _ => panic!("no order"),
    }
}

fn envelope(id: &str) -> Envelope {
    Envelope {
        message_id: message_id("prod", &format!("{id}.alert"), &"ordo@example.org".parse().unwrap()),
        from: "ordo@example.org".parse().unwrap(),
        from_name: "Ordo prod".into(),
        to: vec!["ops@example.org".parse().unwrap(), "tanaka@example.org".parse().unwrap()],
        reply_to: None,
        references: Vec::new(),
        date: at("2026-11-22T02:14:10+09:00"),
        marks: vec![("X-Ordo-Site", "prod".into()), ("X-Ordo-Rule", "nights".into())],
    }
}

fn received(page: &Page, envelope: &Envelope) -> ReceivedMail {
    ReceivedMail::parse(&build(page, envelope).unwrap()).unwrap()
}

#[test]
fn subjects_say_what_happened_to_what() {
    let subject = |incident: &Incident| subject::of(&desk(), incident);
    assert_eq!(subject(&failed()), "[ordo/prod] nightly-sales 2026-11-22: load failed in loads:west");
    let mut top = failed();
    order_mut(&mut top).position = Some("extract".into());
    assert_eq!(subject(&top), "[ordo/prod] nightly-sales 2026-11-22: extract failed");
    let mut said = Incident { text: "region west not loaded".into(), ..failed() };
    order_mut(&mut said).said = true;
    assert_eq!(subject(&said), "[ordo/prod] nightly-sales 2026-11-22: region west not loaded in loads:west");
    let due = Incident { kind: Kind::NotStarted, text: String::new(), ..failed() };
    assert_eq!(subject(&due), "[ordo/prod] nightly-sales 2026-11-22: not started (due 02:00)");
    let late = Incident { kind: Kind::StartedLate, text: "12 min late".into(), ..failed() };
    assert_eq!(subject(&late), "[ordo/prod] nightly-sales 2026-11-22: started late (due 02:00)");
    let long = Incident { kind: Kind::RunsTooLong, text: "longer than 30m".into(), ..failed() };
    assert_eq!(subject(&long), "[ordo/prod] nightly-sales 2026-11-22: runs longer than 30m");
    let waits = Incident { kind: Kind::WaitsTooLong, text: "longer than 10m".into(), ..failed() };
    assert_eq!(subject(&waits), "[ordo/prod] nightly-sales 2026-11-22: waits longer than 10m at loads:west/load");
    let agent =
        AgentFacts { agent: "etl".into(), instance: "e2".into(), node: "node-c".into(), ..AgentFacts::default() };
    let away = Incident { kind: Kind::AgentAway, object: Object::Agent(agent), ..failed() };
    assert_eq!(subject(&away), "[ordo/prod] agent etl: e2 on node-c is away");
}

#[test]
fn the_first_screen_says_what_since_when_who_is_hit_what_is_due_what_changed_and_what_to_do() {
    let page = compose::alert(&desk(), &context(), &failed(), &background());
    let text = page.text();
    for line in [
        "✖ Failed 02:14 JST, 14 min after its start",
        "売上の夜間集計",
        "nightly-sales 2026-11-22: load failed in loads:west: exit code 75",
        "Step      loads:west/load, attempt 4, on agent etl (e1)",
        "Since     2026-11-22 02:14:09 JST",
        "Hit       workflow nightly-sales v12 · business day 2026-11-22 · folder finance/sales · tags finance · schedule nightly",
        "Due       2026-11-22 02:00:00 JST",
        "Last good 2026-11-21 02:22:41 JST, took 22 min",
        "Changed   workflow v11 → v12, deployed 2026-11-21 17:30 by tanaka",
        "          day: 2026-11-21 → 2026-11-22",
        "  | load: giving up after 3 tries",
        "    ordo --site prod order resume 20261122-P7-nightly-sales",
        "I take care of it: ordo --site prod notification acknowledge 20261121-48213-0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is not in:\n{text}");
    }
    assert_eq!(page.log.as_ref().map(|l| l.lines.len()), Some(10));
    let html = page.html();
    assert!(html.contains("売上の夜間集計") && html.contains("order resume 20261122-P7-nightly-sales"));
}

#[test]
fn without_anything_from_history_it_is_still_a_mail() {
    let page = compose::alert(&desk(), &context(), &failed(), &Background::default());
    let text = page.text();
    assert!(!text.contains("Changed") && !text.contains("Last") && text.contains("exit code 75"), "{text}");
}

#[test]
fn a_recovery_is_in_the_thread_of_the_failure_and_says_so_first() {
    let first = received(&compose::alert(&desk(), &context(), &failed(), &background()), &envelope("1"));
    let thread = Context { replies_to: Some(first.subject().to_owned()), ..context() };
    let page = compose::recovery(&desk(), &thread, &failed(), at("2026-11-22T02:41:10+09:00"));
    let again = Envelope { references: vec![envelope("1").message_id], ..envelope("2") };
    let mail = received(&page, &again);
    assert_eq!(mail.subject(), "Re: [ordo/prod] nightly-sales 2026-11-22: load failed in loads:west");
    assert_eq!(mail.text.lines().next(), Some("● Recovered 02:41 JST after 27 min"));
    assert_eq!(mail.header("In-Reply-To"), Some(first.message_id()));
    assert_eq!(mail.header("References"), Some(first.message_id()));
    assert_ne!(mail.message_id(), first.message_id());
    assert_eq!(subject::reply(mail.subject()), mail.subject(), "never Re: Re:");
}

#[test]
fn a_mail_is_for_mail_programs_and_says_that_a_robot_wrote_it() {
    let page = compose::alert(&desk(), &context(), &failed(), &background());
    let mail = received(&page, &envelope("20261121-48213-0"));
    assert_eq!(mail.header("Auto-Submitted"), Some("auto-generated"));
    assert_eq!(mail.header("From"), Some("\"Ordo prod\" <ordo@example.org>").or(mail.header("From")));
    assert_eq!(mail.header("To"), Some("ops@example.org, tanaka@example.org"));
    assert_eq!(mail.message_id(), "<prod.20261121-48213-0.alert@example.org>");
    assert_eq!(mail.header("X-Ordo-Rule"), Some("nights"));
    assert!(mail.header("Content-Type").unwrap().starts_with("multipart/alternative"));
    assert_eq!(mail.text.replace("\r\n", "\n"), page.text());
    assert_eq!(mail.html.replace("\r\n", "\n"), page.html());
    assert!(mail.raw.is_ascii(), "nothing on the way needs 8BITMIME");
    assert!(mail.raw.split(|b| *b == b'\n').all(|line| line.len() <= 998), "RFC 5322");
    let again = build(&page, &envelope("20261121-48213-0")).unwrap();
    assert_eq!(again, mail.raw, "the same mail has the same bytes");
}

/// Whatever people and programs can write.
const EVIL: &str = "x\r\nBcc: evil@example.org\r\n\r\n<script>alert(1)</script>\"'><img src=x onerror=1> \u{202e}gpj\x1b]0;pwned\x07\x00${IFS}`id`&lt;";

#[test]
fn nothing_that_others_wrote_becomes_a_header_a_tag_or_a_command() {
    let mut incident = Incident { text: EVIL.into(), ..failed() };
    let order = order_mut(&mut incident);
    order.title = Some(EVIL.into());
    order.folder = Some(EVIL.into());
    order.tags = vec![EVIL.into()];
    order.added_by = Some(EVIL.into());
    order.schedule = None;
    let lines = clean::tail(EVIL, 10, 200);
    let background = Background {
        changes: vec![EVIL.into()],
        log: Some(LogTail { of: clean::line(EVIL), lines, cut: false }),
        ..background()
    };
    let log =
        LogFacts { rule: "r".into(), host: EVIL.into(), application: EVIL.into(), severity: "error".into(), count: 1 };
    let said = {
        let mut said = incident.clone();
        order_mut(&mut said).said = true;
        said
    };
    let pages = [
        compose::alert(&desk(), &context(), &incident, &background),
        compose::alert(&desk(), &context(), &said, &background),
        compose::alert(
            &desk(),
            &context(),
            &Incident { kind: Kind::Log, object: Object::Log(log), ..incident.clone() },
            &background,
        ),
        compose::recovery(&desk(), &context(), &incident, incident.at),
        compose::digest(&desk(), &context(), &[incident.clone(), said], None),
        compose::maintenance_over(&desk(), &context(), ("m", Some(EVIL)), &[incident.clone()], incident.at),
    ];
    let marks = vec![("X-Ordo-Rule", EVIL.to_owned())];
    for page in pages {
        let mail = received(&page, &Envelope { marks: marks.clone(), from_name: EVIL.into(), ..envelope("1") });
        assert!(mail.header("Bcc").is_none(), "{:?}", mail.headers);
        assert!(mail.headers.len() < 14, "{:?}", mail.headers);
        assert_eq!(mail.header("To"), Some("ops@example.org, tanaka@example.org"));
        for dangerous in ['\x1b', '\x07', '\0', '\u{202e}'] {
            assert!(!mail.text.contains(dangerous) && !mail.html.contains(dangerous), "{dangerous:?} in {}", mail.text);
            assert!(!mail.subject().contains(dangerous));
        }
        assert!(!mail.subject().contains(['\r', '\n']));
        assert!(!mail.html.contains("<script") && !mail.html.contains("<img"), "{}", mail.html);
        assert!(!mail.text.contains("\nBcc:"), "{}", mail.text);
    }
}

#[test]
fn progress_bars_and_colours_do_not_hide_what_a_job_said() {
    let log = "a\nloading  10%\rloading  50%\rloading 100%\r\n\x1b[1;31merror\x1b[0m: \x1b[Kdisk full\n\ttabbed\n";
    assert_eq!(clean::tail(log, 3, 80), ["loading 100%", "error: disk full", "    tabbed"]);
    assert_eq!(clean::tail("one\n", 10, 80), ["one"]);
    assert_eq!(clean::tail(&"x".repeat(500), 10, 80)[0].chars().count(), 80);
    assert_eq!(clean::line("\x1b["), "", "a sequence that never ends takes nothing else along");
    assert_eq!(clean::line("\x1b[売上"), "売上");
}

/// `count` orders of a workflow.
pub(crate) fn flood(workflow: &str, count: usize, text: impl Fn(usize) -> String) -> Vec<Incident> {
    let one = |n: usize| {
        let mut incident = failed();
        incident.id = format!("20261121-{n}-0");
        incident.at += TimeDelta::milliseconds(n as i64);
        incident.text = text(n);
        let order = order_mut(&mut incident);
        order.workflow = workflow.to_owned();
        order.title = None;
        order.position = Some("work".into());
        order.order = Some(format!("20261122-D{n}-{workflow}"));
        incident
    };
    (1..=count).map(one).collect()
}

#[test]
fn one_odd_order_in_a_flood_of_a_thousand_is_on_the_first_screen() {
    let mut incidents = flood("flood", 999, |n| format!("host {n} not reachable after {n} tries"));
    incidents.insert(600, flood("payroll", 1, |_| "disk full".into()).remove(0));
    let page = compose::digest(&desk(), &context(), &incidents, None);
    assert_eq!(page.subject, "[ordo/prod] 1000 orders failed on agent etl since 02:14");
    let text = page.text();
    let place = text.lines().position(|line| line.contains("20261122-D1-payroll")).unwrap();
    assert!(place < 20, "line {place}:\n{}", text.lines().take(40).collect::<Vec<_>>().join("\n"));
    assert!(text.contains("1 × payroll: work failed: disk full"), "{text}");
    let mail = received(&page, &envelope("digest"));
    for incident in &incidents {
        let id = incident.order().and_then(|o| o.order.clone()).unwrap();
        assert!(mail.names(&id), "{id}");
    }
    assert!(mail.html.len() < 100_000, "{} bytes: programs cut what is longer", mail.html.len());
}

#[test]
fn what_a_digest_has_in_common_is_its_subject() {
    let all = flood("flood", 37, |_| "exit code 1".into());
    let headline = |incidents: &[Incident]| compose::headline(&desk(), incidents);
    assert_eq!(headline(&all), "37 orders of flood failed since 02:14");
    let mut two = all.clone();
    order_mut(&mut two[0]).workflow = "other".into();
    assert_eq!(headline(&two), "37 orders failed on agent etl since 02:14");
    order_mut(&mut two[0]).agent = Some("web".into());
    assert_eq!(headline(&two), "37 orders failed since 02:14");
    two[0].kind = Kind::StartedLate;
    assert_eq!(headline(&two), "37 alerts since 02:14");
}

#[test]
fn repeats_stay_in_their_thread_and_name_each_order() {
    let incidents = flood("backup", 3, |_| "exit code 1".into());
    let first = "[ordo/prod] backup 2026-11-22: work failed".to_owned();
    let page = compose::repeats(&desk(), &Context { replies_to: Some(first.clone()), ..context() }, &incidents);
    assert_eq!(page.subject, format!("Re: {first}"));
    assert_eq!(page.lead, "3 more since 02:14 JST: backup 2026-11-22");
    let mail = received(&page, &envelope("r"));
    assert!(["1", "2", "3"].iter().all(|n| mail.names(&format!("20261122-D{n}-backup"))));
}

#[test]
fn after_a_maintenance_is_said_what_was_silenced_and_what_still_stands() {
    let mut incidents = flood("backup", 3, |_| "exit code 1".into());
    incidents[0].recovered_at = Some(incidents[0].at);
    let ended = at("2026-11-22T04:00:00+09:00");
    let page = compose::maintenance_over(&desk(), &context(), ("patches", None), &incidents, ended);
    assert_eq!(page.subject, "[ordo/prod] maintenance patches is over: 3 alerts were silenced, 2 still stand");
    assert!(page.text().contains("Maintenance patches ended 04:00 JST"), "{}", page.text());
    assert!(page.text().contains("(1 recovered)"), "{}", page.text());
}

#[test]
fn the_default_site_needs_no_name_in_commands() {
    let desk = Desk { site: "default".into(), zone: Tz::UTC };
    assert_eq!(desk.command("status"), "ordo status");
}

/// `ORDO_LETTERS=FOLDER` writes each kind of mail as HTML and text, to be looked at: see `services/monitor/pictures.sh`.
#[test]
fn letters_can_be_looked_at() {
    let Some(folder) = std::env::var_os("ORDO_LETTERS").map(std::path::PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).unwrap();
    let due = Incident { kind: Kind::NotStarted, text: String::new(), ..failed() };
    let agent = AgentFacts {
        agent: "etl".into(),
        instance: "e2".into(),
        node: "node-c".into(),
        last_seen: Some(at("2026-11-22T01:58:02+09:00")),
        runs: 3,
        others: 1,
    };
    let away = Incident { kind: Kind::AgentAway, object: Object::Agent(agent), text: String::new(), ..failed() };
    let mut many = flood("flood", 999, |_| "exit code 1".into());
    many.insert(600, flood("payroll", 1, |_| "disk full".into()).remove(0));
    let thread = Context { replies_to: Some(subject::of(&desk(), &failed())), ..context() };
    let pages = [
        ("failed", compose::alert(&desk(), &context(), &failed(), &background())),
        ("recovered", compose::recovery(&desk(), &thread, &failed(), at("2026-11-22T02:41:10+09:00"))),
        ("not-started", compose::alert(&desk(), &context(), &due, &Background::default())),
        ("away", compose::alert(&desk(), &context(), &away, &Background::default())),
        ("digest", compose::digest(&desk(), &context(), &many, None)),
        ("repeats", compose::repeats(&desk(), &thread, &flood("backup", 3, |_| "exit code 1".into()))),
        (
            "maintenance",
            compose::maintenance_over(
                &desk(),
                &context(),
                ("patches", None),
                &many[..30],
                at("2026-11-22T04:00:00+09:00"),
            ),
        ),
        ("test", compose::test(&desk(), "m1", "tanaka", at("2026-11-22T04:00:00+09:00"))),
    ];
    for (name, page) in pages {
        std::fs::write(folder.join(format!("{name}.html")), page.html()).unwrap();
        std::fs::write(folder.join(format!("{name}.txt")), format!("{}\n\n{}", page.subject, page.text())).unwrap();
    }
}
