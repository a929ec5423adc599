//! The log notification with its real servers: what it takes, what becomes a notice, and what it bears.

use crate::log_site::{LIMIT, LogSite};
use ordo_contract::heartbeat::Activity;
use ordo_contract::request::log_notification::{LogListLine, LogListRequest};
use ordo_domain::log_rule::Severity;
use ordo_testkit::{TestPostgres, User, wait_until};
use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};

const DISK: &str =
    "log_rule: disk\nseverity: error\nhosts: db*\ntext: disk [0-9]+ full\nnotice: A disk is full\nfold: 1h\n";

fn datagram(to: SocketAddr, message: &str) {
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(message.as_bytes(), to).unwrap();
}

#[tokio::test]
async fn lines_that_a_rule_fits_become_one_notice_and_repeats_are_counted() {
    let mut it = LogSite::new().await;
    it.deploy(DISK).await;
    it.deploy("log_rule: logins\napplications: sshd\ntext: root\nfold: 8s\n").await;
    let instance = it.start("l1");
    let (udp, tcp) = it.listening("l1", &["disk", "logins"]).await;
    for n in 0..5 {
        datagram(udp, &format!("<11>1 - db1 kernel - - - disk {n} full"));
    }
    let mut stream = TcpStream::connect(tcp).unwrap();
    stream.write_all(b"<11>1 - web1 kernel - - - disk 7 full\n37 <14>1 - db1 sshd 7 - - root logged in\n").unwrap();
    let notices = it.wait_notices("both rules told", |all| all.len() >= 2).await;
    let disk = notices.iter().find(|n| n.rule.as_str() == "disk").unwrap();
    assert_eq!((disk.title.as_str(), disk.severity, disk.host.as_str()), ("A disk is full", Severity::Error, "db1"));
    assert_eq!((disk.application.as_str(), disk.text.as_str(), disk.count), ("kernel", "disk 0 full", 1));
    stream.write_all(b"<14>1 - db1 sshd 8 - - root logged in\n").unwrap();
    let all = it.wait_notices("the repeat of the short fold is told with its count", |all| all.len() >= 3).await;
    let logins: Vec<_> = all.iter().filter(|n| n.rule.as_str() == "logins").collect();
    assert_eq!(logins.iter().map(|n| n.count).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(logins[0].id, logins[1].id);
    // What no rule fits is kept when it is bad, and only then.
    datagram(udp, "<14>1 - db1 cron - - - nothing to see");
    let kept = it.line("the error of web1 is listed", |line| line.record.host == "web1").await;
    assert_eq!((kept.role.as_str(), kept.instance.as_str()), ("syslog", "l1"));
    let quiet = LogListRequest { pattern: Some("nothing to see".into()), ..Default::default() };
    assert!(it.logs(&quiet).await.is_empty());
    it.remove("logins").await;
    it.listening("l1", &["disk"]).await;
    instance.stop().await;
}

#[tokio::test]
async fn warnings_of_ordos_own_instances_become_notices_without_a_rule_of_anybody() {
    let it = LogSite::new().await;
    let instance = it.start("l1");
    it.listening("l1", &[]).await;
    it.own_line(&User::Controller, Severity::Warning, "trying on").await;
    it.own_line(&User::Agent("etl".into()), Severity::Error, "cannot start").await;
    let notices = it.wait_notices("both are told", |all| all.len() >= 2).await;
    let said: Vec<_> = notices.iter().map(|n| (n.rule.as_str(), n.application.as_str(), n.host.as_str())).collect();
    assert_eq!(said, [("ordo", "ordo-controller", "node-b"), ("ordo", "ordo-agent-etl", "node-b")]);
    assert_eq!(notices[0].text, "trying on, order_id: 20261125-A1-x");
    it.wait_acknowledged().await;
    let list = LogListRequest { role: Some("agent-*".into()), level: Some(Severity::Error), ..Default::default() };
    let lines = it.logs(&list).await;
    assert_eq!(lines.len(), 1);
    let behind = LogListRequest { after: Some(lines[0].sequence), ..Default::default() };
    assert!(it.logs(&behind).await.iter().all(|line| line.sequence > lines[0].sequence));
    instance.stop().await;
}

#[tokio::test]
async fn a_restart_neither_tells_a_fold_again_nor_forgets_its_count() {
    let mut it = LogSite::new().await;
    it.deploy("log_rule: disk\ntext: full\nfold: 12s\n").await;
    let first = it.start("l1");
    let (udp, _) = it.listening("l1", &["disk"]).await;
    (0..3).for_each(|n| datagram(udp, &format!("<11>1 - db1 kernel - - - disk {n} full")));
    it.wait_notices("told", |all| all.len() == 1).await;
    it.wait_acknowledged().await;
    first.kill().await;
    // While nobody is there, another instance's listener could have brought this.
    let second = it.start("l2");
    let (udp, _) = it.listening("l2", &["disk"]).await;
    (0..4).for_each(|n| datagram(udp, &format!("<11>1 - db1 kernel - - - disk {n} full")));
    let all = it.wait_notices("the end of the fold is told", |all| all.iter().any(|n| n.count > 1)).await;
    assert_eq!(all.iter().map(|n| n.count).collect::<Vec<_>>(), [1, 7]);
    assert_eq!(all[0].id, all[1].id);
    second.stop().await;
}

#[tokio::test]
async fn of_two_instances_both_listen_and_one_tells() {
    let mut it = LogSite::new().await;
    it.deploy(DISK).await;
    let mut instances = vec![("l1", it.start("l1")), ("l2", it.start("l2"))];
    let (one, _) = it.listening("l1", &["disk"]).await;
    let (two, _) = it.listening("l2", &["disk"]).await;
    datagram(one, "<11>1 - db1 kernel - - - disk 1 full");
    datagram(two, "<11>1 - db2 kernel - - - disk 1 full");
    it.wait_notices("both are told, once", |all| all.len() == 2).await;
    let active = {
        let mut found = None;
        wait_until(LIMIT, "one is active", async || {
            for name in ["l1", "l2"] {
                if it.heartbeat(name).await.is_some_and(|beat| beat.activity == Activity::Active) {
                    found = Some(name);
                }
            }
            found.is_some()
        })
        .await;
        found.unwrap()
    };
    let at = instances.iter().position(|(name, _)| *name == active).unwrap();
    instances.remove(at).1.kill().await;
    let left = if active == "l1" { two } else { one };
    datagram(left, "<11>1 - db3 kernel - - - disk 1 full");
    datagram(left, "<11>1 - db1 kernel - - - disk 9 full");
    let all = it.wait_notices("the other took over", |all| all.iter().any(|n| n.host == "db3")).await;
    let hosts: Vec<&str> = all.iter().map(|n| n.host.as_str()).collect();
    assert_eq!(hosts.iter().filter(|host| **host == "db1").count(), 1, "a repeat is none: {hosts:?}");
    for (_, instance) in instances {
        instance.stop().await;
    }
}

#[tokio::test]
async fn a_flood_is_counted_said_and_does_not_hide_what_a_rule_fits() {
    let mut it = LogSite::new().await;
    it.deploy(DISK).await;
    let mut config = it.config("l1");
    config.syslog.messages_per_sender = 2_000;
    config.syslog.stored_per_sender = 10;
    config.syslog.longest_bytes = 256;
    let instance = it.start_with(config);
    let (udp, tcp) = it.listening("l1", &["disk"]).await;
    let mut stream = TcpStream::connect(tcp).unwrap();
    let mut sent = 0_u64;
    for n in 0..20_000 {
        writeln!(stream, "<12>1 - noisy app - - - warning {n} of many").unwrap();
        sent += 1;
        if n == 1_500 {
            writeln!(stream, "<11>1 - db1 kernel - - - disk 1 full {}", "x".repeat(1_000)).unwrap();
            sent += 1;
        }
    }
    drop(stream);
    let told = it.wait_notices("the disk is found in the flood", |all| all.iter().any(|n| n.host == "db1")).await;
    let disk = told.iter().find(|n| n.host == "db1").unwrap();
    assert!(disk.text.ends_with("bytes more, cut off)"), "{}", disk.text);
    wait_until(LIMIT, "every message is accounted for", async || {
        let said = it.syslog("l1").await.unwrap();
        said.taken + said.untaken == sent
    })
    .await;
    let said = it.syslog("l1").await.unwrap();
    assert!(said.untaken > 0 && said.unkept > 0 && said.kept < 500, "{said:?}");
    let of_ours = it.line("it is said", |line| line.record.message.contains("were not taken")).await;
    assert_eq!((of_ours.role.as_str(), of_ours.record.level), ("log-notification", Severity::Warning));
    assert!(of_ours.record.message.contains("messages of 127.0.0.1"), "{}", of_ours.record.message);
    wait_until(LIMIT, "beside the instance it is shown only as long as it lasts", async || {
        it.heartbeat("l1").await.is_some_and(|beat| beat.note.is_none())
    })
    .await;
    // It is as well as before.
    datagram(udp, "<11>1 - db2 kernel - - - disk 1 full");
    it.wait_notices("it goes on", |all| all.iter().any(|n| n.host == "db2")).await;
    instance.stop().await;
}

#[tokio::test]
async fn while_the_bus_is_away_messages_wait_and_what_has_no_room_is_said_afterwards() {
    let mut it = LogSite::new().await;
    it.deploy(DISK).await;
    let mut config = it.config("l1");
    config.syslog.stored = 1_000_000;
    config.syslog.stored_per_sender = 1_000_000;
    let instance = it.start_with(config);
    let (_, tcp) = it.listening("l1", &["disk"]).await;
    it.site.nats.kill().await;
    // It is 32 MB, for which no socket has room: when it is sent it was read.
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(tcp).unwrap();
        writeln!(stream, "<11>1 - db1 kernel - - - disk 1 full").unwrap();
        let noise = "x".repeat(8_000);
        for n in 0..4_000 {
            writeln!(stream, "<12>1 - h app - - - {n} {noise}").unwrap();
        }
        writeln!(stream, "<11>1 - db2 kernel - - - disk 1 full").unwrap();
    })
    .await
    .unwrap();
    it.site.nats.start_again().await;
    it.wait_notices("what came first is told", |all| all.iter().any(|n| n.host == "db1")).await;
    let is_loss = |line: &LogListLine| line.record.message.contains("the bus was away");
    let said = it.line_of("log-notification", "the loss is said", is_loss).await;
    assert_eq!(said.record.host, "127.0.0.1");
    let figures = it.syslog("l1").await.unwrap();
    assert_eq!((figures.taken, figures.untaken), (4_002, 0), "{figures:?}");
    assert!(figures.unkept > 0 && figures.kept + figures.unkept == 4_002, "{figures:?}");
    instance.stop().await;
}

#[tokio::test]
async fn while_postgresql_is_away_lines_wait_in_the_stream() {
    let mut it = LogSite::with(TestPostgres::start_own().await).await;
    it.deploy(DISK).await;
    let instance = it.start("l1");
    let (udp, _) = it.listening("l1", &["disk"]).await;
    datagram(udp, "<11>1 - db1 kernel - - - disk 1 full");
    it.wait_notices("told", |all| all.len() == 1).await;
    it.postgres.kill().await;
    (0..3).for_each(|n| datagram(udp, &format!("<11>1 - db2 kernel - - - disk {n} full")));
    it.line("they are in the stream", |line| line.record.host == "db2").await;
    it.postgres.start_again().await;
    let all = it.wait_notices("told after all", |all| all.len() >= 2).await;
    assert_eq!(all.iter().map(|n| n.host.as_str()).collect::<Vec<_>>(), ["db1", "db2"]);
    instance.stop().await;
}
