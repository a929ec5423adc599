use super::*;

fn names() -> SiteNames {
    SiteNames::new("default").unwrap()
}

/// How NATS matches a subject against a pattern.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(p), Some(s)) if p == s => {}
            _ => return false,
        }
    }
}

fn may(user: &User, subject: &str) -> bool {
    let rights = user.permissions(&names()).publish;
    rights.allow.iter().any(|p| matches(p, subject)) && !rights.deny.iter().any(|p| matches(p, subject))
}

fn hears(user: &User, subject: &str) -> bool {
    user.permissions(&names()).subscribe.allow.iter().any(|p| matches(p, subject))
}

fn everybody() -> Vec<User> {
    vec![User::Controller, User::Proxy, User::History, User::Agent("etl".into()), User::Person("ops".into())]
}

#[test]
fn only_the_controller_writes_journal_and_jobs_and_administers_streams() {
    let names = names();
    for user in everybody() {
        let is_controller = user == User::Controller;
        for subject in [
            names.journal(),
            names.job_start("etl", "r"),
            names.job_kill("etl", "i"),
            "$JS.API.STREAM.CREATE.ORDO-default-JOURNAL".to_owned(),
            "$JS.API.STREAM.UPDATE.ORDO-default-JOBS".to_owned(),
            "$JS.API.STREAM.PURGE.ORDO-default-JOURNAL".to_owned(),
        ] {
            assert_eq!(may(&user, &subject), is_controller, "{user:?} {subject}");
        }
        assert!(!may(&user, "$JS.API.STREAM.DELETE.ORDO-default-JOURNAL"), "{user:?}");
        assert!(!may(&user, "$JS.API.STREAM.MSG.DELETE.ORDO-default-JOURNAL"), "{user:?}");
        assert!(!may(&user, "$JS.API.STREAM.CREATE.ORDO-other-JOURNAL"), "{user:?}");
    }
}

#[test]
fn each_role_writes_only_its_own_keys() {
    for user in everybody() {
        for role in ["controller", "proxy", "history", "agent-etl", "agent-other"] {
            let own = user.name() == role;
            assert_eq!(may(&user, &format!("$KV.ordo-default-instance.{role}.x1")), own, "{user:?} {role}");
            let leases = own && !role.starts_with("agent-");
            assert_eq!(may(&user, &format!("$KV.ordo-default-lease.{role}")), leases, "{user:?} {role}");
        }
    }
}

#[test]
fn nobody_asks_or_listens_under_another_name() {
    for user in everybody() {
        for name in ["controller", "proxy", "history", "agent-etl", "ops"] {
            let own = user.name() == name;
            assert_eq!(may(&user, &names().request(name, "proxy", "order", "add")), own, "{user:?} {name}");
            assert_eq!(hears(&user, &format!("_INBOX_{name}.x.y")), own, "{user:?} {name}");
        }
    }
}

#[test]
fn an_agent_reads_and_reports_only_for_itself() {
    let (names, etl) = (names(), User::Agent("etl".into()));
    for (agent, own) in [("etl", true), ("web", false)] {
        assert_eq!(may(&etl, &names.report_accepted(agent, "r")), own);
        assert_eq!(may(&etl, &names.report(agent, "ended")), own);
        assert_eq!(may(&etl, &names.output(agent, "r")), own);
        assert_eq!(may(&etl, &format!("$JS.API.CONSUMER.MSG.NEXT.ORDO-default-JOBS.agent-{agent}")), own);
        assert_eq!(may(&etl, &format!("$JS.ACK.ORDO-default-JOBS.agent-{agent}.1.2.3.4.5")), own);
        assert_eq!(may(&etl, &format!("$JS.ACK._.h.ORDO-default-JOBS.agent-{agent}.1.2.3.4.5")), own);
        assert_eq!(may(&etl, &format!("$JS.ACK.ORDO-default-JOBS.kill-{agent}.1.2.3.4.5")), own);
        assert_eq!(hears(&etl, &names.kill_delivery(agent)), own);
    }
    assert!(!may(&etl, "$JS.API.STREAM.MSG.GET.ORDO-default-REPORTS"));
    assert!(!may(&etl, "$JS.API.CONSUMER.CREATE.OBJ_ordo-default-definition.x.y"));
    assert!(!may(&etl, &names.command("order", "add")));
    assert!(!hears(&etl, &names.feed("order", "o", "OrderStarted")));
}

#[test]
fn a_reader_cannot_disturb_the_durable_of_another() {
    let (proxy, history) = (User::Proxy, User::History);
    assert!(may(&proxy, "$JS.API.CONSUMER.MSG.NEXT.ORDO-default-JOURNAL.proxy"));
    assert!(may(&proxy, "$JS.API.CONSUMER.CREATE.ORDO-default-JOURNAL.x1.ordo.default.journal"));
    assert!(may(&proxy, "$JS.API.CONSUMER.MSG.NEXT.ORDO-default-JOURNAL.x1"));
    assert!(!may(&proxy, "$JS.API.CONSUMER.MSG.NEXT.ORDO-default-JOURNAL.history"));
    assert!(!may(&proxy, "$JS.API.CONSUMER.CREATE.ORDO-default-JOURNAL.history.ordo.default.journal"));
    assert!(!may(&proxy, "$JS.ACK.ORDO-default-JOURNAL.history.1.1.1.1.1"));
    assert!(may(&history, "$JS.API.CONSUMER.MSG.NEXT.ORDO-default-JOURNAL.history"));
    assert!(may(&history, "$JS.API.CONSUMER.MSG.NEXT.ORDO-default-OUTPUT.history-output"));
    assert!(!may(&history, "$JS.API.CONSUMER.CREATE.ORDO-default-JOURNAL.history.ordo.default.journal"));
}

#[test]
fn a_person_sees_and_asks_but_writes_no_stream() {
    let (names, ops) = (names(), User::Person("ops".into()));
    for subject in [
        names.command("order", "add"),
        names.report("etl", "ended"),
        names.feed("order", "o", "OrderStarted"),
        "$KV.ordo-default-lease.controller".to_owned(),
        "$O.ordo-default-definition.M.x".to_owned(),
    ] {
        assert!(!may(&ops, &subject), "{subject}");
    }
    assert!(may(&ops, "$JS.API.STREAM.LIST"));
    assert!(may(&ops, "$JS.API.CONSUMER.LIST.ORDO-default-JOURNAL"));
    assert!(may(&ops, "$JS.API.STREAM.MSG.GET.KV_ordo-default-lease"));
    assert!(may(&ops, "$SRV.PING"));
    assert!(hears(&ops, &names.feed("order", "o", "OrderStarted")));
}

#[test]
fn names_of_services_are_not_for_people() {
    assert!(User::is_reserved("controller") && User::is_reserved("agent-x") && !User::is_reserved("ops"));
}

/// Everything that an agent may publish or hear beyond its inbox crosses the border of its account.
#[test]
fn what_an_agent_may_is_offered_to_its_account_and_nothing_administrative_is() {
    let (names, etl) = (names(), User::Agent("etl".into()));
    let offered = offered_to_agents(&names);
    for subject in etl.permissions(&names).publish.allow {
        // Asking one instance is for the agents among themselves.
        let within = subject.starts_with("ordo.default.instance.");
        // A pattern is offered when the pattern itself fits the offer.
        let crosses = offered.iter().any(|offer| matches(offer.subject(), &subject.replace('>', "x")));
        assert!(within || crosses, "{subject}");
    }
    for subject in [
        names.journal(),
        names.command("order", "add"),
        names.job_start("etl", "r"),
        "$JS.API.STREAM.DELETE.ORDO-default-JOURNAL".to_owned(),
        "$JS.API.STREAM.PURGE.ORDO-default-JOURNAL".to_owned(),
        "$JS.API.CONSUMER.DELETE.ORDO-default-JOURNAL.history".to_owned(),
        "$KV.ordo-default-lease.controller".to_owned(),
        "$O.ordo-default-snapshot.M.x".to_owned(),
    ] {
        assert!(!offered.iter().any(|offer| matches(offer.subject(), &subject)), "{subject}");
    }
}

/// Rule two of the module's text.
#[test]
fn people_have_no_right_whose_answer_is_empty_or_of_their_making() {
    for subject in User::Person("ops".into()).permissions(&names()).publish.allow {
        for verb in ["DIRECT.GET", "MSG.NEXT", "CONSUMER.CREATE", "DURABLE.CREATE"] {
            assert!(!subject.contains(verb), "{subject}");
        }
        assert!(!subject.starts_with("$JS.") || !subject.contains('>'), "{subject}");
    }
}
