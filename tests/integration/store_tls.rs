//! TLS to PostgreSQL, with the meaning that libpq gives to `sslmode`.

use ordo_store::{Connect, Store, StoreError, migrate};
use ordo_testkit::certificate::TestCertificates;
use ordo_testkit::{DatabaseRole, TestPostgres};

#[tokio::test]
async fn tls_is_used_and_verified_as_the_address_says() {
    let (bin, _) = ordo_servers::find::postgres().unwrap();
    if !ordo_servers::find::speaks_tls(&bin) {
        eprintln!("skipped: the PostgreSQL in {} was built without TLS", bin.display());
        return;
    }
    let ours = TestCertificates::new();
    let postgres = TestPostgres::start_with_tls(ours.tls(), ours.ca()).await;
    let url = postgres.url(DatabaseRole::History);
    let (base, _) = url.split_once('?').unwrap_or((&url, ""));
    let by_name = base.replace("127.0.0.1", "localhost");
    let ready = async |url: String, ca| Store::open(&Connect::new(url, ca))?.ready().await;
    ready(format!("{base}?sslmode=verify-full"), Some(ours.ca())).await.unwrap();
    ready(format!("{by_name}?sslmode=verify-full&sslrootcert={}", ours.ca().display()), None).await.unwrap();
    ready(base.to_owned(), Some(ours.ca())).await.unwrap();
    ready(format!("{base}?sslmode=require"), None).await.unwrap();
    let plain = ready(format!("{base}?sslmode=disable"), None).await.unwrap_err();
    assert!(matches!(plain, StoreError::NotAdmitted { .. }), "this server takes no plain connections: {plain:?}");
    // Another authority did not sign it; its own name is not the one that was dialled.
    let others = TestCertificates::new();
    let stranger = ready(format!("{base}?sslmode=verify-full"), Some(others.ca())).await.unwrap_err();
    assert!(matches!(stranger, StoreError::Unreachable { .. }), "{stranger:?}");
    let renamed = base.replace("127.0.0.1", "other.example") + "?hostaddr=127.0.0.1";
    ready(format!("{renamed}&sslmode=verify-ca"), Some(ours.ca())).await.unwrap();
    let wrong_name = ready(format!("{renamed}&sslmode=verify-full"), Some(ours.ca())).await.unwrap_err();
    assert!(matches!(wrong_name, StoreError::Unreachable { .. }), "{wrong_name:?}");
    let owner = postgres.url(DatabaseRole::Owner);
    let owner = owner.split_once('?').map_or(owner.clone(), |(base, _)| base.to_owned());
    let ca = ours.ca();
    let migrated = tokio::task::spawn_blocking(move || migrate(&format!("{owner}?sslmode=verify-full"), Some(&ca)));
    assert!(migrated.await.unwrap().unwrap().applied.is_empty());
}
