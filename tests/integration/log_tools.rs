//! Other people's programs on the listener: `logger` of util-linux, and rsyslog. Skipped, loudly, where they are not.

use crate::log_site::{LIMIT, LogSite};
use ordo_domain::log_rule::Severity;
use ordo_testkit::{TestFolder, wait_until};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: there is no {name} on this machine; Debian: apt-get install util-linux rsyslog");
    }
    found
}

#[tokio::test]
async fn logger_is_understood_in_all_its_ways() {
    let Some(logger) = program("logger") else { return };
    let it = LogSite::new().await;
    let instance = it.start("l1");
    let (udp, tcp) = it.listening("l1", &[]).await;
    let ways: [(&str, &[&str]); 6] = [
        ("udp, rfc 5424", &["--udp", "--rfc5424"]),
        ("udp, rfc 3164", &["--udp", "--rfc3164"]),
        ("tcp, rfc 5424", &["--tcp", "--rfc5424"]),
        ("tcp, rfc 3164", &["--tcp", "--rfc3164"]),
        ("tcp, octet counted", &["--tcp", "--rfc5424", "--octet-count"]),
        ("tcp, octet counted 3164", &["--tcp", "--rfc3164", "--octet-count"]),
    ];
    for (what, flags) in ways {
        let port = if flags[0] == "--udp" { udp.port() } else { tcp.port() };
        let status = Command::new(&logger)
            .args(["--server", "127.0.0.1", "--port", &port.to_string(), "--tag", "backup", "--id=4711"])
            .args(["--priority", "local3.err"])
            .args(flags)
            .arg(format!("it failed by {what}: 売上"))
            .status()
            .unwrap();
        assert!(status.success(), "{what}");
        let text = format!("it failed by {what}: 売上");
        let line = it.line(what, |line| line.record.message == text).await;
        let facts = line.record.syslog.unwrap();
        assert_eq!((line.record.level, facts.facility.as_deref()), (Severity::Error, Some("local3")), "{what}");
        assert_eq!((facts.application.as_str(), facts.process.as_deref()), ("backup", Some("4711")), "{what}");
        let sent = facts.sent_at.unwrap_or_else(|| panic!("{what}: no time"));
        assert!((line.record.at - sent).num_seconds().abs() < 60, "{what}: {sent}");
        assert!(!line.record.host.is_empty() && line.record.host != "127.0.0.1", "{what}: {}", line.record.host);
    }
    instance.stop().await;
}

struct Rsyslog(Child);

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One that listens on a socket of its own and sends everything on, three ways.
fn rsyslog(program: &PathBuf, folder: &TestFolder, udp: u16, tcp: u16) -> Rsyslog {
    let path = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        r#"global(workDirectory="{work}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{socket}" CreatePath="on")
template(name="viaUdp" type="string" string="<%PRI%>%TIMESTAMP% %HOSTNAME% %syslogtag%%msg% (by udp)")
template(name="viaLines" type="string" string="<%PRI%>1 %TIMESTAMP:::date-rfc3339% %HOSTNAME% %APP-NAME% %PROCID% %MSGID% - %msg% (by lines)")
template(name="viaCount" type="string" string="<%PRI%>1 %TIMESTAMP:::date-rfc3339% %HOSTNAME% %APP-NAME% %PROCID% %MSGID% - %msg% (counted)")
action(type="omfwd" Target="127.0.0.1" Port="{udp}" Protocol="udp" Template="viaUdp")
action(type="omfwd" Target="127.0.0.1" Port="{tcp}" Protocol="tcp" TCP_Framing="traditional" Template="viaLines" action.resumeRetryCount="-1")
action(type="omfwd" Target="127.0.0.1" Port="{tcp}" Protocol="tcp" TCP_Framing="octet-counted" Template="viaCount" action.resumeRetryCount="-1")
"#,
        work = folder.path().display(),
        socket = path("log.socket"),
    );
    std::fs::write(folder.join("rsyslog.conf"), config).unwrap();
    let child = Command::new(program)
        .args(["-n", "-f", &path("rsyslog.conf"), "-i", &path("rsyslog.pid")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("rsyslog.err")).unwrap())
        .spawn()
        .unwrap();
    Rsyslog(child)
}

#[tokio::test]
async fn rsyslog_forwards_by_udp_by_lines_and_counted() {
    let (Some(rsyslogd), Some(logger)) = (program("rsyslogd"), program("logger")) else { return };
    let mut it = LogSite::new().await;
    it.deploy("log_rule: backup\napplications: backup\nseverity: error\nnotice: The backup failed\n").await;
    let instance = it.start("l1");
    let (udp, tcp) = it.listening("l1", &["backup"]).await;
    let folder = TestFolder::new("rsyslog");
    let running = rsyslog(&rsyslogd, &folder, udp.port(), tcp.port());
    let socket = folder.join("log.socket");
    wait_until(LIMIT, "rsyslog listens", async || socket.exists()).await;
    for n in 0..20 {
        let status = Command::new(&logger)
            .arg("--socket")
            .arg(&socket)
            .args(["--tag", "backup", "--id=4711", "--priority", "daemon.err"])
            .arg(format!("part {n} of it failed"))
            .status()
            .unwrap();
        assert!(status.success());
    }
    for way in ["by udp", "by lines", "counted"] {
        for n in [0, 19] {
            let begin = format!("part {n} of it failed");
            let line = it
                .line(&format!("{begin} {way}"), |line| {
                    line.record.message.contains(&begin) && line.record.message.contains(way)
                })
                .await;
            let facts = line.record.syslog.unwrap();
            assert_eq!((line.record.level, facts.application.as_str()), (Severity::Error, "backup"), "{way}");
            assert_eq!(facts.process.as_deref(), Some("4711"), "{way}");
        }
    }
    let notices = it.wait_notices("all ways are told", |all| all.len() >= 3).await;
    assert!(notices.iter().all(|n| n.title == "The backup failed"));
    let figures = it.syslog("l1").await.unwrap();
    assert_eq!((figures.untaken, figures.unkept), (0, 0), "{figures:?}");
    drop(running);
    instance.stop().await;
}
