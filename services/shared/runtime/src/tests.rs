use crate::config::{load_from, masked};
use crate::health::{Unhealthy, probe, status_path};
use crate::{CancellationToken, ConfigError, DatabaseSettings, Health, HealthState, RoleSettings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    #[serde(flatten)]
    role: RoleSettings,
    database: DatabaseSettings,
    rows: u32,
    limit: Option<u32>,
    labels: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: RoleSettings::default(),
            database: DatabaseSettings::default(),
            rows: 7,
            limit: None,
            labels: BTreeMap::new(),
        }
    }
}

/// A folder of its own per test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ordo-runtime-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn flag(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let folder = Folder::new("layers");
    let file =
        folder.file("ordo.toml", "site = \"file\"\nrows = 1\n[nats]\nurl = \"nats://file:1\"\n[labels]\na = \"b\"\n");
    let environment =
        env(&[("ORDO_NATS_URL", "nats://env:2"), ("ORDO_ROWS", "2"), ("ORDO_LIMIT", "9"), ("ORDO_RESULTS", "/x")]);
    let loaded = load_from::<Config>("history", Some(&file), &environment, &[flag("rows", "3")]).unwrap();
    assert_eq!(loaded.config.role.site, "file");
    assert_eq!(loaded.config.role.nats.url, "nats://env:2");
    assert_eq!((loaded.config.rows, loaded.config.limit), (3, Some(9)));
    assert_eq!(loaded.config.labels["a"], "b");
    let printed = loaded.print();
    assert!(printed.contains("nats.url = \"nats://env:2\"  # environment ORDO_NATS_URL"), "{printed}");
    assert!(printed.contains("rows = 3  # flag"), "{printed}");
    assert!(printed.contains("# nats.creds is not set  # default"), "{printed}");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let folder = Folder::new("unknown");
    let file = folder.file("ordo.toml", "[nats]\nurk = \"nats://file:1\"\n");
    let error = load_from::<Config>("history", Some(&file), &env(&[]), &[]).unwrap_err();
    assert!(matches!(error, ConfigError::UnknownKey { .. }));
    assert_eq!(error.to_string(), "unknown key nats.urk in file; did you mean nats.url?");
}

#[test]
fn a_value_of_the_wrong_kind_names_the_variable_and_what_is_wanted() {
    let error = load_from::<Config>("history", None, &env(&[("ORDO_ROWS", "many")]), &[]).unwrap_err();
    assert_eq!(error.to_string(), "history: ORDO_ROWS is \"many\", wanted a number");
    let error = load_from::<Config>("history", None, &env(&[("ORDO_LIMIT", "many")]), &[]).unwrap_err();
    assert!(error.to_string().contains("limit = \"many\" (environment ORDO_LIMIT)"), "{error}");
}

#[test]
fn a_password_is_never_shown() {
    assert_eq!(masked("postgres://ordo:secret@db:5432/ordo"), "postgres://ordo:…@db:5432/ordo");
    assert_eq!(masked("postgres://ordo@db/ordo"), "postgres://ordo@db/ordo");
    // Whatever the password holds, and in lists.
    assert_eq!(masked("postgres://ordo:a/b?c@d@db/ordo"), "postgres://ordo:…@db/ordo");
    assert_eq!(masked("nats://a:s1@h1:4222,nats://b:s2@h2,c:s3@h3"), "nats://a:…@h1:4222,nats://b:…@h2,c:…@h3");
    assert_eq!(masked("nats://a:x,y@h1,nats://h2:4222"), "nats://a:…@h1,nats://h2:4222");
    assert_eq!(masked("nats://token@h1"), "nats://…@h1");
    assert_eq!(masked("nats://h1:4222,h2:4222"), "nats://h1:4222,h2:4222");
    assert_eq!(masked("someone@example.org, other@example.org"), "someone@example.org, other@example.org");
    let loaded =
        load_from::<Config>("history", None, &env(&[("ORDO_DATABASE_URL", "postgres://u:geheim@h/d")]), &[]).unwrap();
    assert!(!loaded.print().contains("geheim"));
}

#[test]
fn a_password_file_is_put_into_the_address() {
    let folder = Folder::new("password");
    let file = folder.file("password", "a/b@c\n");
    let settings = DatabaseSettings { url: "postgres://u@h:1/d".into(), password_file: Some(file), ca: None };
    assert_eq!(settings.url_with_password().unwrap(), "postgres://u:a%2Fb%40c@h:1/d");
}

#[test]
fn an_instance_id_is_made_once_and_kept() {
    let folder = Folder::new("instance");
    let settings = RoleSettings { data: folder.0.join("c"), ..RoleSettings::default() };
    let first = settings.clone().resolve("controller").unwrap();
    assert_eq!(first.instance, settings.clone().resolve("controller").unwrap().instance);
    assert!(first.instance.starts_with('c') && first.instance.len() == 13 && !first.node.is_empty());
    // What a crash left empty is made anew; what is no id is said with its place.
    let file = folder.0.join("c/instance");
    std::fs::write(&file, "").unwrap();
    let fresh = settings.clone().resolve("controller").unwrap().instance;
    assert_eq!((fresh.len(), std::fs::read_to_string(&file).unwrap()), (13, format!("{fresh}\n")));
    std::fs::write(&file, "c 1").unwrap();
    let error = settings.clone().resolve("controller").unwrap_err().to_string();
    assert!(error.contains("c 1") && error.contains("c/instance"), "{error}");
    std::fs::write(&file, format!("{fresh}\n")).unwrap();
    let bad = RoleSettings { site: "Not OK".into(), ..RoleSettings::default() };
    assert_eq!(bad.resolve("controller").unwrap_err().to_string(), "site is \"Not OK\", wanted [a-z0-9]{1,20}");
}

#[tokio::test]
async fn a_role_is_healthy_while_it_writes_and_not_before_or_after() {
    let folder = Folder::new("health");
    assert!(matches!(probe(&folder.0, "proxy", false), Err(Unhealthy::NotRunning { .. })));
    let (health, shutdown) = (Health::new("proxy", "p1", &folder.0), CancellationToken::new());
    let task = tokio::spawn({
        let (health, shutdown) = (health.clone(), shutdown.clone());
        async move { health.run(shutdown).await }
    });
    health.set(HealthState::Ready, "serving");
    tokio::time::timeout(Duration::from_secs(5), async {
        while probe(&folder.0, "proxy", true).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    shutdown.cancel();
    task.await.unwrap();
    assert!(!status_path(&folder.0, "proxy").exists());
}

#[test]
fn a_process_that_stopped_writing_is_unhealthy() {
    let folder = Folder::new("stale");
    let mut status = Health::new("proxy", "p1", &folder.0).status();
    status.state = HealthState::Ready;
    status.boottime_ms = status.boottime_ms.saturating_sub(6_000);
    std::fs::write(status_path(&folder.0, "proxy"), serde_json::to_vec(&status).unwrap()).unwrap();
    assert!(matches!(probe(&folder.0, "proxy", false), Err(Unhealthy::Stale { .. })));
}
