//! A mail server that people run: Exim, Debian's own (`apt-get install exim4-daemon-light`), as a process with its own folder.
//! Where it is not installed this says so and passes; the server of the test kit speaks the same SMTP in all other tests.

use ordo_domain::alert::MailAddress;
use ordo_monitor::post::{Limits, Outcome, Post, Security, Server};
use ordo_testkit::{TestCertificates, TestFolder, smtp::ReceivedMail, wait_for};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const MESSAGE: &[u8] =
    b"Message-ID: <one@example.org>\r\nSubject: hello\r\nContent-Type: text/plain\r\n\r\n.dots\r\nbody\r\n";
/// Exim refuses to deliver as root: as root, the test lets it run as `nobody`.
const NOBODY: u32 = 65_534;

struct Exim {
    child: Child,
    port: u16,
    folder: TestFolder,
}

impl Drop for Exim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed() -> Option<PathBuf> {
    ["/usr/sbin/exim4", "/usr/sbin/exim"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn give_to(path: &Path, uid: u32) {
    std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
}

async fn exim(program: &Path, certificates: &TestCertificates) -> Exim {
    let folder = TestFolder::new("exim");
    let is_root = nix::unistd::geteuid().is_root();
    let uid = if is_root { NOBODY } else { nix::unistd::geteuid().as_raw() };
    for name in ["spool", "log", "mail"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    for (from, name) in [(certificates.tls().certificate, "server.pem"), (certificates.tls().key, "server.key")] {
        std::fs::copy(from, folder.join(name)).unwrap();
    }
    let port = free_port();
    let path = folder.path().display();
    let config = format!(
        "primary_hostname = localhost\nlocal_interfaces = 127.0.0.1\ndaemon_smtp_ports = {port}\nkeep_environment =\n\
         spool_directory = {path}/spool\nlog_file_path = {path}/log/%slog\npid_file_path = {path}/exim.pid\nexim_user = {uid}\n\
         exim_group = {uid}\ndeliver_drop_privilege = true\nnever_users =\nhost_lookup =\nrfc1413_hosts =\n\
         tls_advertise_hosts = *\ntls_certificate = {path}/server.pem\ntls_privatekey = {path}/server.key\n\
         acl_smtp_rcpt = rcpt\nacl_smtp_data = data\nbegin acl\nrcpt:\n  deny local_parts = gone\n       message = no such user here\n  \
         defer local_parts = grey\n        message = greylisted\n  accept\ndata:\n  accept\nbegin routers\nall:\n  driver = accept\n  \
         transport = file\nbegin transports\nfile:\n  driver = appendfile\n  directory = {path}/mail\n  maildir_format\n  create_directory\n  \
         user = {uid}\n  group = {uid}\n"
    );
    std::fs::write(folder.join("exim.conf"), config).unwrap();
    if is_root {
        give_to(folder.path(), uid);
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            give_to(&entry.unwrap().path(), uid);
        }
    }
    let mut command = Command::new(program);
    command.arg("-C").arg(folder.join("exim.conf")).args(["-bdf", "-q1m"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if is_root {
        command.uid(uid).gid(uid);
    }
    let child = command.spawn().unwrap();
    wait_for(Duration::from_secs(20), "exim listens", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    Exim { child, port, folder }
}

#[tokio::test]
async fn exim_takes_a_mail_by_starttls_refuses_a_recipient_and_puts_one_off() {
    let Some(program) = installed() else {
        eprintln!("SKIPPED: no exim4 here (apt-get install exim4-daemon-light)");
        return;
    };
    let certificates = TestCertificates::new();
    let exim = exim(&program, &certificates).await;
    let authority = std::fs::read(certificates.ca()).unwrap();
    let limit = Duration::from_secs(20);
    let limits = Limits { connect: limit, command: limit, message: limit };
    let server = |host: &str, authority: &[u8]| {
        let security = Security::Starttls;
        let server = Server::new(host.into(), Some(exim.port), security, Some(authority), None, None, limits);
        Post::servers(vec![server.unwrap()])
    };
    let post = server("localhost", &authority);
    let from: MailAddress = "ordo@example.org".parse().unwrap();
    let send = async |post: &Post, to: &str| post.send(&from, &to.parse().unwrap(), "one", MESSAGE).await;
    let taken = send(&post, "ops@example.org").await;
    assert!(taken.is_accepted(), "{taken:?}");
    let refused = send(&post, "gone@example.org").await;
    assert!(matches!(&refused, Outcome::Refused { why, .. } if why.contains("no such user")), "{refused:?}");
    let later = send(&post, "grey@example.org").await;
    assert!(matches!(&later, Outcome::Later { why, .. } if why.contains("greylisted")), "{later:?}");
    let stranger = std::fs::read(TestCertificates::new().ca()).unwrap();
    let trouble = send(&server("localhost", &stranger), "ops@example.org").await;
    assert!(matches!(&trouble, Outcome::Trouble { why, .. } if why.contains("certificate")), "{trouble:?}");

    let delivered = exim.folder.join("mail").join("new");
    let bytes = wait_for(Duration::from_secs(20), "exim delivers it", async || {
        let entry = std::fs::read_dir(&delivered).ok()?.next()?.ok()?;
        std::fs::read(entry.path()).ok().filter(|bytes| !bytes.is_empty())
    })
    .await;
    let mail = ReceivedMail::parse(&bytes).unwrap();
    assert_eq!((mail.subject(), mail.message_id()), ("hello", "<one@example.org>"));
    assert_eq!(mail.text.replace("\r\n", "\n"), ".dots\nbody\n");
}
