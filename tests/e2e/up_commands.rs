//! The commands of the binary that need no running site.

use crate::up_process::{folder, ordo};
use std::process::Output;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(data: &std::path::Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    ordo(data).args(arguments).envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn every_role_shows_its_settings_with_their_origin_and_refuses_wrong_ones() {
    let folder = folder();
    for role in ["controller", "agent", "proxy", "history", "daily-plan", "monitor", "cleanup", "log-notification"] {
        let shown =
            run(folder.path(), &["run", role, "--print-config", "--set", "node=n1"], &[("ORDO_INSTANCE", "x1")]);
        assert!(shown.status.success(), "{role}: {}", text(&shown.stderr));
        let shown = text(&shown.stdout);
        assert!(shown.contains("instance = \"x1\"  # environment ORDO_INSTANCE"), "{role}: {shown}");
        assert!(shown.contains("node = \"n1\"  # flag") && shown.contains("# default"), "{role}: {shown}");
        let checked = run(folder.path(), &["run", role, "--check"], &[]);
        assert!(checked.status.success(), "{role}: {}", text(&checked.stderr));
        let wrong = run(folder.path(), &["run", role, "--check", "--set", "nats.urk=x"], &[]);
        assert_eq!(wrong.status.code(), Some(2), "{role}");
        assert!(text(&wrong.stderr).contains("unknown key nats.urk in flag; did you mean nats.url?"), "{role}");
        let site = run(folder.path(), &["run", role, "--check", "--site", "Not OK"], &[]);
        assert_eq!(site.status.code(), Some(2), "{role}");
        assert!(text(&site.stderr).contains("wanted [a-z0-9]{1,20}"), "{role}: {}", text(&site.stderr));
    }
}

#[test]
fn a_check_sees_what_the_start_would_refuse_and_makes_nothing() {
    let folder = folder();
    let data = folder.join("agent");
    let at = ["--data", data.to_str().unwrap()];
    for (name, value, said) in [("ORDO_AGENT", "a b", "a b"), ("ORDO_OUTPUT_RUN_BYTES", "17", "at least 65536")] {
        let checked = run(folder.path(), &[&["run", "agent", "--check"][..], &at[..]].concat(), &[(name, value)]);
        assert_eq!(checked.status.code(), Some(2), "{name}");
        assert!(text(&checked.stderr).contains(said), "{name}: {}", text(&checked.stderr));
        let started = run(folder.path(), &[&["run", "agent"][..], &at[..]].concat(), &[(name, value)]);
        assert_eq!(started.status.code(), Some(2), "{name}");
    }
    assert!(run(folder.path(), &[&["run", "agent", "--check"][..], &at[..]].concat(), &[]).status.success());
    assert!(!data.exists());
}

#[test]
fn credentials_are_made_for_the_site_that_runs_here_and_for_no_other() {
    let folder = folder();
    let dir = folder.path().to_str().unwrap();
    assert!(run(folder.path(), &["setup", "--dir", dir, "--site", "prod"], &[]).status.success());
    // Without a word of the site, and without an ordo.env that names it.
    let refused = run(folder.path(), &["user", "add", "alice"], &[("ORDO_DATA", dir)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("no keys of site default"), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("only of prod"), "{}", text(&refused.stderr));
    assert!(!folder.join("keys/site-default.seed").exists());
    std::fs::write(folder.join("ordo.env"), "ORDO_SITE=prod\n").unwrap();
    let made = run(folder.path(), &["user", "add", "alice"], &[("ORDO_DATA", dir)]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains("on site prod"), "{}", text(&made.stdout));
    assert!(folder.join("creds/alice.creds").exists());
}

#[test]
fn output_that_nobody_takes_or_that_cannot_be_written_is_no_panic_and_no_silence() {
    let folder = folder();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let cut = ordo(folder.path()).args(["run", "proxy", "--print-config"]).stdout(full).output().unwrap();
    assert_eq!(cut.status.code(), Some(1));
    assert!(text(&cut.stderr).contains("standard output cannot be written"), "{}", text(&cut.stderr));
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let unread = ordo(folder.path()).args(["run", "proxy", "--check"]).stdout(write).output().unwrap();
    assert!(unread.status.success(), "{}", text(&unread.stderr));
    assert_eq!(text(&unread.stderr), "");
}

#[test]
fn a_role_that_does_not_run_is_not_healthy() {
    let folder = folder();
    let health = run(folder.path(), &["health", "proxy"], &[]);
    assert_eq!(health.status.code(), Some(1));
    assert!(text(&health.stderr).contains("proxy is not running"), "{}", text(&health.stderr));
    assert_eq!(run(folder.path(), &["health", "nobody"], &[]).status.code(), Some(2));
}

#[test]
fn a_setup_repeated_changes_nothing_and_its_server_configuration_is_good() {
    let folder = folder();
    let dir = folder.join("site");
    let setup = |more: &[&str]| {
        let mut arguments = vec!["setup", "--dir", dir.to_str().unwrap(), "--agent", "local", "--agent", "etl"];
        arguments.extend(more);
        run(folder.path(), &arguments, &[])
    };
    let first = setup(&[]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let files = [
        "nats.conf",
        "creds/controller.creds",
        "creds/agent-etl.creds",
        "creds/ops.creds",
        "secrets/database-ordo",
        "postgres/init.sql",
    ];
    let read =
        || files.map(|name| std::fs::read_to_string(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")));
    let before = read();
    assert!(setup(&[]).status.success());
    assert_eq!(read(), before);
    let (server, _) = ordo_servers::find::nats_server().unwrap();
    let tested = std::process::Command::new(server).arg("-t").arg("-c").arg(dir.join("nats.conf")).output().unwrap();
    assert!(tested.status.success(), "{}", text(&tested.stderr));
    assert_eq!(setup(&["--user", "controller"]).status.code(), Some(1));
    assert_eq!(setup(&["--agent", "not a name"]).status.code(), Some(1));
}

#[test]
fn nobody_is_admitted_without_the_keys_of_the_site() {
    let folder = folder();
    let refused = run(folder.path(), &["user", "add", "alice"], &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("the site's keys are not in"), "{}", text(&refused.stderr));
}
