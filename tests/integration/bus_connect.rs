//! Connecting: clear errors for everything that can be wrong, and a connection that repairs itself.

use crate::bus_site::{Site, chain, never, soon};
use ordo_contract::bus_config::Limits;
use ordo_contract::name::SiteNames;
use ordo_journal::{Bus, BusConfig, BusErrorKind, Journal, NatsJournal, provision};
use ordo_testkit::{TestCertificates, TestFolder, TestNats, User};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// A stand-in for a wrong server: says that it is version `version` and answers pings.
async fn server_of_version(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let info = format!(
                    "INFO {{\"server_id\":\"x\",\"version\":\"{version}\",\"proto\":1,\"headers\":true,\
                     \"max_payload\":1048576,\"host\":\"127.0.0.1\",\"port\":1}}\r\n"
                );
                write.write_all(info.as_bytes()).await.unwrap();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.starts_with("PING") && write.write_all(b"PONG\r\n").await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

fn config(url: &str) -> BusConfig {
    BusConfig {
        url: url.to_owned(),
        creds: None,
        ca: None,
        identity: None,
        name: "test".into(),
        site: SiteNames::new("default").unwrap(),
        user: "controller".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_is_refused_and_the_error_says_what_is_needed() {
    for version in ["2.11.9", "2.9.10"] {
        let url = server_of_version(version).await;
        let error = soon("the refusal", Bus::connect(config(&url))).await.unwrap_err();
        assert_eq!(error.kind(), BusErrorKind::TooOld);
        let text = error.to_string();
        assert!(text.contains(version) && text.contains("2.12") && text.contains(&url), "{text}");
        // Waiting does not heal it.
        let error = soon("the refusal", Bus::connect_when_up(config(&url), &never())).await.unwrap_err();
        assert_eq!(error.kind(), BusErrorKind::TooOld);
    }
    let url = server_of_version("2.12.0").await;
    assert_eq!(soon("the connection", Bus::connect(config(&url))).await.unwrap().server_version(), "2.12.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_said_with_its_address() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = soon("the error", Bus::connect(config(&format!("nats://127.0.0.1:{port}")))).await.unwrap_err();
    assert_eq!(error.kind(), BusErrorKind::Unreachable);
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    let text = chain(&error);
    let repeated = text.split(": ").filter(|part| part.contains(&port.to_string())).count();
    assert_eq!(repeated, 1, "the source is repeated: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_told_from_a_missing_server() {
    let (site, other) = (Site::start().await, Site::start().await);
    let mut config = site.config(&User::Controller);
    config.creds = Some(other.nats.creds(&User::Controller));
    let error = soon("the refusal", Bus::connect(config.clone())).await.unwrap_err();
    assert_eq!(error.kind(), BusErrorKind::Unauthorized, "{}", chain(&error));
    config.creds = Some("/nowhere/controller.creds".into());
    let error = soon("the refusal", Bus::connect(config.clone())).await.unwrap_err();
    assert_eq!(error.kind(), BusErrorKind::Configuration);
    assert!(error.to_string().contains("/nowhere/controller.creds"), "{error}");
    let folder = TestFolder::new("creds");
    std::fs::write(folder.join("bad.creds"), "nothing of the kind").unwrap();
    config.creds = Some(folder.join("bad.creds"));
    let error = soon("the refusal", Bus::connect(config)).await.unwrap_err();
    assert_eq!(error.kind(), BusErrorKind::Configuration, "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_bus_connects_once_it_is_there() {
    let mut site = Site::start().await;
    let config = site.config(&User::Proxy);
    site.nats.kill().await;
    let waiting = tokio::spawn(async move { Bus::connect_when_up(config, &never()).await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!waiting.is_finished());
    site.nats.start_again().await;
    let bus = soon("the connection", waiting).await.unwrap().unwrap();
    bus.round_trip().await.unwrap();
    // And says when it is away, and comes back by itself.
    let mut link = bus.link();
    assert!(link.borrow().up);
    site.nats.kill().await;
    soon("the loss", link.wait_for(|link| !link.up)).await.unwrap();
    site.nats.start_again().await;
    let times = soon("the connection", link.wait_for(|link| link.up)).await.unwrap().times;
    assert_eq!(times, 2);
    soon("a round trip", bus.round_trip()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_a_matter_of_configuration() {
    let (ours, others) = (TestCertificates::new(), TestCertificates::new());
    let site = Site { nats: TestNats::start_with_tls(ours.tls(), ours.ca()).await };
    let trusting = |ca| BusConfig { ca, ..site.config(&User::Controller) };
    let bus = soon("the connection", Bus::connect(trusting(Some(ours.ca())))).await.unwrap();
    provision(&bus, &Limits::scaled_down(64)).await.unwrap();
    assert_eq!(NatsJournal::new(&bus).append(0, "{}".into()).await.unwrap().sequence, 1);
    for ca in [Some(others.ca()), None] {
        let error = soon("the refusal", Bus::connect(trusting(ca.clone()))).await.unwrap_err();
        let text = chain(&error);
        assert!(text.contains("certificate") || text.contains("TLS"), "{ca:?}: {text}");
    }
}
