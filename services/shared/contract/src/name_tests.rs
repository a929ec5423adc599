use super::*;
use crate::bus_config::{CLAIM_AGE, Discard, JOB_AGE, all_streams};
use std::collections::BTreeSet;

fn names() -> SiteNames {
    SiteNames::new("default").unwrap()
}

#[test]
fn a_site_that_could_leave_its_subjects_is_refused() {
    for bad in ["", "a.b", "A", "a b", "*", ">", "a-b", "123456789012345678901"] {
        assert_eq!(SiteNames::new(bad), Err(InvalidSite(bad.to_owned())), "{bad}");
    }
    assert!(SiteNames::new("prod2").is_ok());
}

#[test]
fn text_from_outside_stays_within_its_level() {
    assert_eq!(token("a.b *>"), "a_b___");
    assert_eq!(token(""), "_");
    assert_eq!(token("集計"), "__");
    assert_eq!(token("20261122-P7-nightly:web"), "20261122-P7-nightly:web");
    assert_eq!(names().job_start("etl.>", "r"), "ordo.default.job.etl__.start.r");
    assert_eq!(
        names().feed("order", "20261122-D3-backup", "OrderStarted"),
        "ordo.default.feed.order.20261122-D3-backup.OrderStarted"
    );
}

#[test]
fn the_output_hash_is_stable_for_good() {
    assert_eq!(output_hash("0123456789abcdef0123456789abcdef"), 62);
    let spread: BTreeSet<u8> = (0..5_000).map(|i| output_hash(&format!("{i:032x}"))).collect();
    assert_eq!(spread.len(), 256);
}

#[test]
fn who_asks_is_read_from_the_subject() {
    let names = names();
    let asked = names.parse_request(&names.request("ops", "proxy", "order", "add")).unwrap();
    assert_eq!((asked.user.as_str(), asked.instance.as_deref(), asked.verb.as_str()), ("ops", None, "add"));
    let asked = names.parse_request(&names.instance("controller", "controller", "c1", "instance", "ping")).unwrap();
    assert_eq!((asked.role.as_str(), asked.instance.as_deref()), ("controller", Some("c1")));
    assert_eq!(names.parse_request("ordo.other.request.ops.proxy.order.add"), None);
    assert_eq!(names.parse_request("ordo.default.request.ops.proxy.order"), None);
}

#[test]
fn reports_and_commands_are_read_back() {
    let names = names();
    assert_eq!(
        names.parse_report(&names.report_accepted("etl", "r1")),
        Some(ReportSubject::Accepted { agent: "etl".into(), run: "r1".into() })
    );
    assert_eq!(
        names.parse_report(&names.report("etl", "ended")),
        Some(ReportSubject::Other { agent: "etl".into(), kind: "ended".into() })
    );
    assert_eq!(names.parse_report("ordo.default.report.etl.accepted.r1.more"), None);
    assert_eq!(names.parse_command(&names.command("order", "add")), Some(("order", "add")));
}

#[test]
fn everything_says_what_it_is_for() {
    let names = names();
    for spec in all_streams(&names, &Limits::default()) {
        assert!(spec.description.len() > 20, "{}", spec.name);
    }
    for (_, spec) in names.service_consumers() {
        assert!(spec.description.len() > 20, "{}", spec.name);
    }
    for spec in names.agent_consumers("etl") {
        assert!(spec.description.len() > 20, "{}", spec.name);
    }
}

#[test]
fn only_the_journal_has_no_size_limit_and_only_output_and_logs_drop_the_old() {
    for kind in StreamKind::ALL {
        let spec = names().stream_spec(kind, &Limits::default());
        assert_eq!(spec.max_bytes.is_none(), kind == StreamKind::Journal, "{kind:?}");
        assert_eq!(spec.max_age.is_none(), kind == StreamKind::Journal, "{kind:?}");
        let dropping = matches!(kind, StreamKind::Output | StreamKind::Logs);
        assert_eq!(spec.discard == Discard::Old, dropping, "{kind:?}");
        assert_eq!(spec.async_persistence, dropping, "{kind:?}");
        assert_eq!(spec.allow_direct, kind == StreamKind::Reports, "{kind:?}");
    }
    const { assert!(JOB_AGE.as_secs() < CLAIM_AGE.as_secs()) };
}

#[test]
fn streams_of_one_site_do_not_overlap_and_sites_do_not_share() {
    let subjects = |site: &str| -> BTreeSet<String> {
        all_streams(&SiteNames::new(site).unwrap(), &Limits::default()).into_iter().flat_map(|s| s.subjects).collect()
    };
    assert_eq!(subjects("a").len(), 7 + 3 + 4);
    assert!(subjects("a").is_disjoint(&subjects("b")));
}
