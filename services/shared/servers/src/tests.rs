use crate::{Keys, Process, Spawn, find, port, secret};
use nix::sys::signal::Signal;
use ordo_contract::right::User;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ordo-servers-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_taken_port_is_replaced_by_a_free_one() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port();
    let other = port::free(Some(number)).unwrap();
    assert_ne!(other, number);
    assert_eq!(port::free(Some(other)).unwrap(), other);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port();
    assert_ne!(port::free_for_both(number).unwrap(), number);
    drop(taken);
    assert_eq!(port::free_for_both(number).unwrap(), number);
}

#[test]
fn keys_are_made_once_and_credentials_are_renewed_when_rights_change() {
    let folder = Folder::new("keys");
    let first = Keys::open(&folder.0.join("keys"), "default").unwrap();
    let configuration = first.server_configuration().unwrap();
    let path = first.credentials(&folder.0, &User::Proxy).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let again = Keys::open(&folder.0.join("keys"), "default").unwrap();
    assert_eq!(again.server_configuration().unwrap(), configuration);
    again.credentials(&folder.0, &User::Proxy).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    std::fs::write(folder.0.join(".proxy.rights"), "of an older version").unwrap();
    again.credentials(&folder.0, &User::Proxy).unwrap();
    assert_ne!(std::fs::read_to_string(&path).unwrap(), text);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(Keys::open(&folder.0.join("keys"), "Not a site").is_err());
}

#[test]
fn a_secret_is_made_once() {
    let folder = Folder::new("secret");
    let path = folder.0.join("password");
    let first = secret::read_or_make(&path, secret::password).unwrap();
    assert_eq!(secret::read_or_make(&path, secret::password).unwrap(), first);
    assert_eq!(first.len(), 32);
}

#[tokio::test]
async fn a_child_that_ignores_sigterm_is_killed_after_its_grace() {
    let folder = Folder::new("child");
    let spawn = Spawn::new("sh", folder.0.join("log"))
        .arguments(["-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]);
    let child = Process::spawn(spawn).unwrap();
    while !child.log_tail().contains("ready") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(child.ended().is_none());
    let status = child.stop(Signal::SIGTERM, Duration::from_millis(100)).await;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::SIGKILL as i32));
    child.signal(Signal::SIGKILL);
}

#[tokio::test]
async fn the_end_of_a_child_is_seen_with_its_status() {
    let folder = Folder::new("end");
    let child =
        Process::spawn(Spawn::new("sh", folder.0.join("log")).arguments(["-c", "echo last words; exit 7"])).unwrap();
    assert_eq!(child.wait().await.code(), Some(7));
    assert_eq!(child.log_tail(), "last words");
}

#[test]
fn the_servers_are_found() {
    let programs = find::Programs::find().unwrap();
    assert!(programs.nats_server.is_file() && programs.postgres_bin.join("pg_dump").is_file());
}
