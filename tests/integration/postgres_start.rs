//! The PostgreSQL of `ordo up`: it starts over what a crash left.

use ordo_servers::{PostgresServer, PostgresSettings};
use ordo_testkit::{DatabaseRole, TestFolder};
use std::process::{Command, Stdio};

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_until_the_processes_of_a_killed_one_have_let_go() {
    let folder = TestFolder::new("postgres-start");
    let settings =
        PostgresSettings { fast: true, ..PostgresSettings::new(folder.join("postgres"), folder.join("secrets")) };
    let killed = PostgresServer::start(settings.clone()).await.unwrap();
    // Busy, it does not notice the death of its server before it is done.
    let busy = "select count(*) from generate_series(1, 20000000) a";
    let mut session = Command::new(killed.bin().join("psql"))
        .arg(killed.url(DatabaseRole::Owner).unwrap())
        .args(["-c", busy])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let log = folder.join("postgres/postgres.log");
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    killed.kill().await;
    let again = PostgresServer::start(settings).await.unwrap();
    session.wait().unwrap();
    again.stop().await;
    let said = std::fs::read_to_string(log).unwrap();
    assert!(said.contains("is still in use"), "nothing was in its way: {said}");
}
