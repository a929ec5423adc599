use crate::{DatabaseRole, TestCertificates, TestFolder, TestNats, TestPostgres, User, wait_until};
use futures::StreamExt;
use std::process::Command;
use std::time::Duration;
use tokio_postgres::NoTls;

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn each_user_has_its_rights_and_no_more() {
    let nats = TestNats::start().await;
    let controller = nats.connect(&User::Controller).await;
    let person = nats.connect(&User::Person("ops".into())).await;
    let mut feed = person.subscribe(nats.site().feeds()).await.unwrap();
    person.flush().await.unwrap();
    // The person may not write the feed, the proxy may.
    let subject = nats.site().feed("order", "x", "OrderAdded");
    person.publish(subject.clone(), "forged".into()).await.unwrap();
    person.flush().await.unwrap();
    let proxy = nats.connect(&User::Proxy).await;
    proxy.publish(subject, "real".into()).await.unwrap();
    proxy.flush().await.unwrap();
    let seen = tokio::time::timeout(LIMIT, feed.next()).await.unwrap().unwrap();
    assert_eq!(&seen.payload[..], b"real");
    // Only the controller administrates streams.
    let context = async_nats::jetstream::new(controller);
    let (name, journal) = (nats.site().stream(ordo_contract::name::StreamKind::Journal), nats.site().journal());
    let config =
        async_nats::jetstream::stream::Config { name: name.clone(), subjects: vec![journal], ..Default::default() };
    context.create_stream(config).await.unwrap();
    let mut agent = async_nats::jetstream::new(nats.connect(&User::Agent("local".into())).await);
    agent.set_timeout(Duration::from_millis(500));
    assert!(agent.delete_stream(&name).await.is_err());
}

#[tokio::test]
async fn a_stranger_is_refused() {
    let (ours, others) = (TestNats::start().await, TestNats::start().await);
    let creds = others.creds(&User::Controller);
    let options = async_nats::ConnectOptions::with_credentials_file(creds).await.unwrap();
    assert!(options.connect(ours.url()).await.is_err());
    assert!(async_nats::connect(ours.url()).await.is_err());
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_streams() {
    let mut nats = TestNats::start().await;
    let client = nats.connect(&User::Controller).await;
    let context = async_nats::jetstream::new(client.clone());
    let (name, journal) = (nats.site().stream(ordo_contract::name::StreamKind::Journal), nats.site().journal());
    let config = async_nats::jetstream::stream::Config {
        name: name.clone(),
        subjects: vec![journal.clone()],
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    context.publish(journal, "kept".into()).await.unwrap().await.unwrap();
    let (before, url) = (nats.pid(), nats.url());
    nats.kill().await;
    nats.start_again().await;
    assert_ne!(before, nats.pid());
    assert_eq!(url, nats.url());
    wait_until(LIMIT, "the stream with its message", async || match context.get_stream(&name).await {
        Ok(mut stream) => stream.info().await.is_ok_and(|info| info.state.messages == 1),
        Err(_) => false,
    })
    .await;
}

async fn client(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own_and_each_role_its_rights() {
    let (one, two) = (TestPostgres::start().await, TestPostgres::start().await);
    assert_ne!(one.database(), two.database());
    let owner = client(&one.url(DatabaseRole::Owner)).await;
    owner
        .batch_execute("CREATE TABLE mine (id int); INSERT INTO mine VALUES (1); GRANT INSERT ON mine TO ordo_history")
        .await
        .unwrap();
    let history = client(&one.url(DatabaseRole::History)).await;
    history.batch_execute("INSERT INTO mine VALUES (2)").await.unwrap();
    assert!(history.batch_execute("CREATE TABLE theirs (id int)").await.is_err());
    assert!(history.batch_execute("DROP TABLE mine").await.is_err());
    let read = client(&one.url(DatabaseRole::Read)).await;
    assert_eq!(read.query("SELECT id FROM mine", &[]).await.unwrap().len(), 2);
    assert!(read.batch_execute("INSERT INTO mine VALUES (3)").await.is_err());
    assert!(client(&two.url(DatabaseRole::Read)).await.query("SELECT id FROM mine", &[]).await.is_err());
}

#[tokio::test]
async fn the_backup_role_dumps_everything_and_makes_its_scratch_database() {
    let postgres = TestPostgres::start().await;
    let owner = client(&postgres.url(DatabaseRole::Owner)).await;
    owner.batch_execute("CREATE TABLE mine (id bigserial); INSERT INTO mine DEFAULT VALUES").await.unwrap();
    let url = postgres.url(DatabaseRole::Backup);
    let dump = Command::new(postgres.bin().join("pg_dump")).arg(&url).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    assert!(String::from_utf8_lossy(&dump.stdout).contains("COPY public.mine"));
    let backup = client(&url).await;
    backup.batch_execute("CREATE DATABASE scratch").await.unwrap();
    backup.batch_execute("DROP DATABASE scratch").await.unwrap();
    assert!(backup.batch_execute("DELETE FROM mine").await.is_err());
}

#[tokio::test]
async fn a_killed_postgres_comes_back_with_its_rows() {
    let mut postgres = TestPostgres::start_own().await;
    let url = postgres.url(DatabaseRole::Owner);
    client(&url).await.batch_execute("CREATE TABLE mine (id int); INSERT INTO mine VALUES (1)").await.unwrap();
    postgres.kill().await;
    assert!(tokio_postgres::connect(&url, NoTls).await.is_err());
    postgres.start_again().await;
    assert_eq!(client(&url).await.query("SELECT id FROM mine", &[]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_folder_is_gone_with_its_test() {
    let folder = TestFolder::new("gone");
    let path = folder.path().to_owned();
    std::fs::write(folder.join("file"), "x").unwrap();
    drop(folder);
    assert!(!path.exists());
}

#[tokio::test]
async fn servers_speak_tls_and_refuse_who_does_not() {
    let certificates = TestCertificates::new();
    let nats = TestNats::start_with_tls(certificates.tls(), certificates.ca()).await;
    let client = nats.connect(&User::Proxy).await;
    assert!(client.flush().await.is_ok());
    let distrusting = async_nats::ConnectOptions::with_credentials_file(nats.creds(&User::Proxy)).await.unwrap();
    assert!(distrusting.connect(nats.url()).await.is_err());
    if !ordo_servers::find::speaks_tls(&ordo_servers::find::postgres().unwrap().0) {
        eprintln!("SKIPPED: this PostgreSQL was built without TLS");
        return;
    }
    let postgres = TestPostgres::start_with_tls(certificates.tls(), certificates.ca()).await;
    let plain = postgres.url(DatabaseRole::Read).replace("sslmode=require", "sslmode=disable");
    assert!(tokio_postgres::connect(&plain, NoTls).await.is_err());
}
