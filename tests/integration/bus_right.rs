//! Rights, as the server enforces them. Refusals are seen as silence by who asks; what counts is what arrived.

use crate::bus_site::{SOON, Site, never, soon};
use futures::StreamExt;
use ordo_contract::name::{StreamKind, object_stream};
use ordo_journal::{Ack, Durable, FollowFrom, Headers, Journal, NatsJournal, Outgoing, RequestError, ServiceSpec};
use ordo_testkit::User;
use std::time::Duration;

/// Whether a raw request of that user is answered at all.
async fn answered(client: &async_nats::Client, subject: &str, body: &str) -> Option<serde_json::Value> {
    let asked = client.request(subject.to_owned(), body.to_owned().into());
    let answer = tokio::time::timeout(Duration::from_millis(400), asked).await.ok()?.ok()?;
    Some(serde_json::from_slice(&answer.payload).unwrap_or(serde_json::Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rogue_agent_can_do_nothing_but_its_own() {
    let site = Site::start().await;
    let controller = site.bus(&User::Controller).await;
    for agent in ["etl", "rogue"] {
        controller.ensure_agent_consumers(agent).await.unwrap();
    }
    let names = site.nats.site();
    controller.publish(&Outgoing::new(names.job_start("etl", "r1"), Headers::new(), "{}"), &never()).await.unwrap();
    let rogue = site.nats.connect(&User::Agent("rogue".into())).await;
    let last = async |kind| controller.last_sequence(kind).await.unwrap();
    let before = [StreamKind::Journal, StreamKind::Commands, StreamKind::Jobs, StreamKind::Reports];
    let mut counts = Vec::new();
    for kind in before {
        counts.push(last(kind).await);
    }
    // Writing what is not its own.
    for subject in [
        names.journal(),
        names.command("order", "add"),
        names.job_start("rogue", "r9"),
        names.job_kill("etl", "i1"),
        names.report("etl", "ended"),
        names.report_accepted("etl", "r1"),
        names.output("etl", "r1"),
        names.log("controller", "c1", "error"),
        names.notice("alarm", "x"),
        names.feed("order", "o", "OrderStarted"),
        format!("$KV.{}.controller", names.lease_bucket()),
        format!("$KV.{}.agent-etl.i1", names.instance_bucket()),
        format!("$KV.{}.x", names.desired_bucket()),
        format!("$O.{}.M.eA==", names.definition_store()),
        format!("$O.{}.C.x", names.snapshot_store()),
        format!("$JS.ACK.{}.agent-etl.1.1.1.1.0", names.stream(StreamKind::Jobs)),
        names.request("ops", "proxy", "order", "add"),
        names.request("controller", "proxy", "order", "add"),
    ] {
        assert_eq!(answered(&rogue, &subject, "{}").await, None, "{subject}");
    }
    // Administering, reading and pulling what is not its own.
    for kind in StreamKind::ALL {
        let stream = names.stream(kind);
        for verb in ["INFO", "PURGE", "DELETE", "UPDATE", "MSG.GET", "MSG.DELETE", "CREATE", "SNAPSHOT"] {
            let subject = format!("$JS.API.STREAM.{verb}.{stream}");
            assert_eq!(answered(&rogue, &subject, r#"{"seq":1}"#).await, None, "{subject}");
        }
        for rest in [
            "CREATE.S.x",
            "CREATE.S.x.ordo.>",
            "DURABLE.CREATE.S.x",
            "LIST.S",
            "DELETE.S.history",
            "MSG.NEXT.S.agent-etl",
        ] {
            let subject = format!("$JS.API.CONSUMER.{}", rest.replace(".S", &format!(".{stream}")));
            assert_eq!(answered(&rogue, &subject, "{}").await, None, "{subject}");
        }
    }
    let others_claim =
        format!("$JS.API.DIRECT.GET.{}.{}", names.stream(StreamKind::Reports), names.report_accepted("etl", "r1"));
    assert_eq!(answered(&rogue, &others_claim, "").await, None);
    for (kind, count) in before.into_iter().zip(counts) {
        assert_eq!(last(kind).await, count, "{kind:?}");
    }
    // Its own works, under the same rights.
    let own = site.agent("rogue").await;
    own.publish(&Outgoing::new(names.report("rogue", "ended"), Headers::new(), "{}"), &never()).await.unwrap();
    own.put_heartbeat("i1", "{}").await.unwrap();
    controller.publish(&Outgoing::new(names.job_start("rogue", "r2"), Headers::new(), "{}"), &never()).await.unwrap();
    let mut durable = Durable::starts(&own, "rogue");
    durable.grant(1);
    let job = soon("its job", durable.next()).await.unwrap();
    own.ack(&job, Ack::Done).await.unwrap();
    let jobs = names.stream(StreamKind::Jobs);
    ordo_testkit::wait_until(SOON, "its ack", async || controller.stream_info(&jobs).await.unwrap().messages == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rogue_agent_hears_nothing_that_is_not_its_own() {
    let site = Site::start().await;
    let (controller, ops) = (site.bus(&User::Controller).await, site.person("ops").await);
    controller.ensure_agent_consumers("etl").await.unwrap();
    let names = site.nats.site();
    let rogue = site.nats.connect(&User::Agent("rogue".into())).await;
    let mut ears = Vec::new();
    for subject in [
        "ordo.>",
        ">",
        "_INBOX.>",
        "_INBOX_ops.>",
        "_INBOX_controller.>",
        "$KV.>",
        "ordo.default.deliver.etl.kill",
        "$JS.>",
    ] {
        ears.push(rogue.subscribe(subject).await.unwrap());
    }
    rogue.flush().await.unwrap();
    let mut feed = ops.listen(&names.feeds()).await.unwrap();
    ops.round_trip().await.unwrap();
    let proxy = site.bus(&User::Proxy).await;
    proxy.tell(&names.feed("order", "o1", "OrderStarted"), Headers::new(), "{}").await.unwrap();
    controller.publish(&Outgoing::new(names.job_kill("etl", "i1"), Headers::new(), "{}"), &never()).await.unwrap();
    assert_eq!(soon("the feed", feed.next()).await.unwrap().subject, names.feed("order", "o1", "OrderStarted"));
    for mut ear in ears {
        let heard = tokio::time::timeout(Duration::from_millis(100), ear.next()).await;
        // Ended (refused) or silent.
        assert!(matches!(heard, Err(_) | Ok(None)), "{heard:?}");
    }
}

/// What the lines of the `nats` CLI in `experience.md` ask of the server, under a person's rights.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_can_look_with_the_nats_cli_and_write_nothing() {
    let site = Site::start().await;
    let controller = site.bus(&User::Controller).await;
    controller.leases().put("controller", r#"{"active":"c1"}"#).await.unwrap();
    let ops = site.nats.connect(&User::Person("ops".into())).await;
    let names = site.nats.site();
    let list = answered(&ops, "$JS.API.STREAM.LIST", "{}").await.expect("nats stream ls");
    let listed: Vec<_> =
        list["streams"].as_array().unwrap().iter().map(|s| s["config"]["name"].as_str().unwrap()).collect();
    for kind in StreamKind::ALL {
        assert!(listed.contains(&names.stream(kind).as_str()), "{kind:?} in {listed:?}");
    }
    let journal = names.stream(StreamKind::Journal);
    for subject in [
        "$JS.API.INFO".to_owned(),
        format!("$JS.API.STREAM.INFO.{journal}"),
        format!("$JS.API.CONSUMER.LIST.{journal}"),
        format!("$JS.API.CONSUMER.INFO.{journal}.history"),
        format!("$JS.API.STREAM.INFO.KV_{}", names.lease_bucket()),
    ] {
        let answer = answered(&ops, &subject, "").await.unwrap_or_else(|| panic!("{subject}"));
        assert!(answer.get("error").is_none(), "{subject}: {answer}");
    }
    let get = format!(r#"{{"last_by_subj":"$KV.{}.controller"}}"#, names.lease_bucket());
    let lease = answered(&ops, &format!("$JS.API.STREAM.MSG.GET.KV_{}", names.lease_bucket()), &get).await;
    assert!(lease.expect("nats kv get")["message"]["data"].is_string());
    // The CLI's own inbox.
    let options = async_nats::ConnectOptions::with_credentials_file(site.nats.creds(&User::Person("ops".into())));
    let cli = options.await.unwrap().connect(site.nats.url()).await.unwrap();
    assert!(answered(&cli, "$JS.API.STREAM.NAMES", "{}").await.is_some());
    for subject in [
        names.journal(),
        names.command("order", "add"),
        names.job_start("etl", "r"),
        names.report("etl", "ended"),
        names.report_accepted("etl", "r"),
        names.output("etl", "r"),
        names.log("proxy", "p1", "warn"),
        names.notice("a", "b"),
        format!("$KV.{}.controller", names.lease_bucket()),
        format!("$KV.{}.controller.c1", names.instance_bucket()),
        format!("$O.{}.M.x", names.definition_store()),
        format!("$JS.API.STREAM.PURGE.{journal}"),
        format!("$JS.API.STREAM.DELETE.{journal}"),
        format!("$JS.API.STREAM.MSG.GET.{journal}"),
        format!("$JS.API.CONSUMER.CREATE.{journal}.x.ordo.default.journal"),
        format!("$JS.API.CONSUMER.DELETE.{journal}.history"),
        format!("$JS.API.CONSUMER.MSG.NEXT.{journal}.history"),
        names.request("other", "proxy", "order", "add"),
    ] {
        assert_eq!(answered(&ops, &subject, "{}").await, None, "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_writes_only_what_is_its_own() {
    let site = Site::start().await;
    let names = site.nats.site();
    let commands = names.command("order", "add");
    let cases = [
        (User::Proxy, vec![commands.clone()], vec![names.journal(), names.job_start("a", "r"), names.report("a", "x")]),
        (
            User::History,
            vec![],
            vec![commands.clone(), names.journal(), names.feed("a", "b", "C"), names.output("a", "r")],
        ),
        (
            User::Controller,
            vec![names.job_start("a", "r"), names.report_accepted("a", "r")],
            vec![commands, names.report("a", "ended"), names.output("a", "r"), names.feed("a", "b", "C")],
        ),
    ];
    for (user, may, may_not) in cases {
        let client = site.nats.connect(&user).await;
        for subject in may {
            assert!(answered(&client, &subject, "{}").await.is_some(), "{user:?} {subject}");
        }
        for subject in may_not {
            assert_eq!(answered(&client, &subject, "{}").await, None, "{user:?} {subject}");
        }
        for role in ["controller", "proxy", "history"] {
            for key in
                [format!("$KV.{}.{role}", names.lease_bucket()), format!("$KV.{}.{role}.x1", names.instance_bucket())]
            {
                assert_eq!(answered(&client, &key, "{}").await.is_some(), user.name() == role, "{user:?} {key}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_another_name_reaches_nobody() {
    let site = Site::start().await;
    let ops = site.person("ops").await;
    let (own, forged) = (
        site.nats.site().request("ops", "proxy", "order", "add"),
        site.nats.site().request("admin", "proxy", "order", "add"),
    );
    let outcome = ops.request(&own, "{}", Duration::from_millis(400)).await;
    assert!(matches!(outcome, Err(RequestError::NoResponders { .. })), "{outcome:?}");
    let outcome = ops.request(&forged, "{}", Duration::from_millis(400)).await;
    assert!(matches!(outcome, Err(RequestError::Bus(_))), "{outcome:?}");
}

/// The server checks what a client publishes, never the reply subject it names: it then publishes the answer there
/// itself. Nothing that such an answer could do may happen.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_sent_to_where_its_asker_may_not_publish_does_nothing() {
    let site = Site::start().await;
    let controller = site.bus(&User::Controller).await;
    controller.ensure_agent_consumers("rogue").await.unwrap();
    let (proxy, names) = (site.bus(&User::Proxy).await, site.nats.site());
    let hash = proxy.definitions().put_by_hash("x", b"{}").await.unwrap();
    let spec = ServiceSpec {
        role: "proxy".into(),
        instance: "p1".into(),
        node: "n".into(),
        description: "A proxy of a test".into(),
        version: "0.1.0".into(),
        at_a_time: 16,
        role_endpoints: vec![("order", "add")],
        instance_endpoints: vec![],
    };
    let empty: ordo_journal::Handler = std::sync::Arc::new(|_| Box::pin(async { Ok(bytes::Bytes::new()) }));
    let _service = proxy.serve(spec, empty).await.unwrap();
    let mut journal = NatsJournal::new(&controller);
    for number in 0..10 {
        journal.append(number, bytes::Bytes::from(format!("{number}"))).await.unwrap();
    }
    let lease = r#"{"held_by":"c1","who":"ops","why":"test"}"#;
    controller.leases().put("controller", lease).await.unwrap();
    let mut ends = Vec::new();
    for kind in [StreamKind::Journal, StreamKind::Commands, StreamKind::Jobs] {
        ends.push((kind, controller.last_sequence(kind).await.unwrap()));
    }
    let (jobs, reports) = (names.stream(StreamKind::Jobs), names.stream(StreamKind::Reports));
    let of_agent = vec![
        (names.report("rogue", "x"), ""),
        (names.report_accepted("rogue", "r1"), ""),
        (format!("$JS.API.DIRECT.GET.{reports}.{}", names.report_accepted("rogue", "r1")), ""),
        (format!("$JS.API.DIRECT.GET.{reports}.{}", names.report_accepted("rogue", "none")), ""),
        (format!("$JS.API.DIRECT.GET.{}", object_stream(&names.definition_store())), r#"{"seq":1}"#),
        (format!("$JS.API.CONSUMER.MSG.NEXT.{jobs}.agent-rogue"), r#"{"batch":1,"no_wait":true}"#),
        (names.request("agent-rogue", "proxy", "order", "add"), ""),
        (names.instance("agent-rogue", "proxy", "p1", "instance", "ping"), ""),
    ];
    let of_person = vec![
        ("$JS.API.INFO".to_owned(), ""),
        ("$JS.API.STREAM.NAMES".to_owned(), ""),
        ("$JS.API.STREAM.LIST".to_owned(), ""),
        (format!("$JS.API.STREAM.INFO.{reports}"), ""),
        (format!("$JS.API.CONSUMER.INFO.{jobs}.none"), ""),
        (format!("$JS.API.CONSUMER.LIST.{jobs}"), ""),
        (format!("$JS.API.STREAM.MSG.GET.KV_{}", names.lease_bucket()), r#"{"seq":1}"#),
        ("$SRV.PING".to_owned(), ""),
        ("$SRV.INFO".to_owned(), ""),
        (names.request("ops", "proxy", "order", "add"), ""),
        (names.instance("ops", "proxy", "p1", "instance", "ping"), ""),
    ];
    let history = format!("$JS.API.CONSUMER.DELETE.{}.history", names.stream(StreamKind::Journal));
    let targets = [
        format!("$JS.API.STREAM.PURGE.{}", names.stream(StreamKind::Journal)),
        format!("$JS.API.STREAM.DELETE.{}", names.stream(StreamKind::Journal)),
        history,
        names.journal(),
        names.command("order", "add"),
        names.job_start("etl", "r9"),
        format!("$KV.{}.controller", names.lease_bucket()),
    ];
    for (user, questions) in [(User::Agent("rogue".into()), of_agent), (User::Person("ops".into()), of_person)] {
        let client = site.nats.connect(&user).await;
        for (question, body) in &questions {
            for target in &targets {
                client.publish_with_reply(question.clone(), target.clone(), (*body).into()).await.unwrap();
            }
        }
        client.flush().await.unwrap();
        // One that is answered shows that all before it were.
        let last = if matches!(user, User::Agent(_)) { names.report("rogue", "x") } else { "$JS.API.INFO".to_owned() };
        assert!(answered(&client, &last, "").await.is_some());
        tokio::time::sleep(Duration::from_millis(300)).await;
        let journal = controller.stream_info(&names.stream(StreamKind::Journal)).await.unwrap();
        assert_eq!(journal.first_sequence, 1, "{user:?} purged the journal");
        let durable = controller.consumer_info(&names.stream(StreamKind::Journal), "history").await.unwrap();
        assert!(durable.is_some(), "{user:?} deleted a consumer");
        for (kind, end) in &ends {
            let noise = controller.last_sequence(*kind).await.unwrap() - end;
            eprintln!("{kind:?}: {noise} answers by {user:?}");
            assert!(noise == 0 || matches!(user, User::Person(_)), "{user:?} {kind:?}");
        }
    }
    // What people got in is noise, and no reader takes it for more.
    let last = journal.append(10, "11".into()).await.unwrap().sequence;
    let mut follow = proxy.follow(FollowFrom::journal(&proxy, 1)).await.unwrap();
    for number in 0..11 {
        let expected = if number == 10 { "11".to_owned() } else { number.to_string() };
        assert_eq!(soon("a commit", follow.next()).await.unwrap().payload(), &expected);
    }
    assert_eq!(follow.position(), last + 1);
    let commands = FollowFrom::contiguous(names.stream(StreamKind::Commands), names.commands(), 1);
    let mut follow = controller.follow(commands).await.unwrap();
    while follow.pending() > 0 {
        let message = follow.next().await.unwrap();
        assert!(!message.is_genuine() && message.payload().is_empty());
    }
    assert!(proxy.definition(&hash).await.unwrap().is_some());
}
