use super::*;
use ordo_testkit::{
    SmtpServer, TestCertificates, TestFolder,
    smtp::{Script, TlsScript, read_folder},
};

const MESSAGE: &[u8] =
    b"Message-ID: <one@example.org>\r\nSubject: hello\r\nContent-Type: text/plain\r\n\r\n.dots\r\nbody\r\n";

fn limits() -> Limits {
    let short = Duration::from_secs(2);
    Limits { connect: short, command: short, message: short }
}

fn address(text: &str) -> MailAddress {
    text.parse().unwrap()
}

fn plain(port: u16) -> Server {
    Server::new("127.0.0.1".into(), Some(port), Security::None, None, None, None, limits()).unwrap()
}

async fn send(post: &Post, to: &str) -> Outcome {
    post.send(&address("ordo@example.org"), &address(to), "one", MESSAGE).await
}

fn is_later(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Later { .. })
}

struct Site {
    _folder: TestFolder,
    server: SmtpServer,
    post: Post,
}

async fn site(script: Script) -> Site {
    let folder = TestFolder::new("smtp");
    let server = SmtpServer::start(folder.path(), script, None).await;
    let post = Post::servers(vec![plain(server.port())]);
    Site { _folder: folder, server, post }
}

#[tokio::test]
async fn a_message_arrives_as_it_was() {
    let site = site(Script::default()).await;
    let outcome = send(&site.post, "ops@example.org").await;
    assert!(outcome.is_accepted(), "{outcome:?}");
    assert_eq!(outcome.words(), "250 2.0.0 taken");
    assert!(send(&site.post, "ops@example.org").await.is_accepted(), "on the same connection");
    let mails = site.server.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].to, ["ops@example.org"]);
    assert_eq!(mails[0].text, ".dots\r\nbody\r\n");
}

#[tokio::test]
async fn a_refused_recipient_is_final_and_the_others_get_it() {
    let site = site(Script { refuse: ["gone@example.org".to_owned()].into(), ..Script::default() }).await;
    let refused = send(&site.post, "gone@example.org").await;
    assert!(matches!(&refused, Outcome::Refused { why, .. } if why.contains("no such user")), "{refused:?}");
    assert!(send(&site.post, "ops@example.org").await.is_accepted());
    assert_eq!(site.server.mails().len(), 1);
}

#[tokio::test]
async fn greylisting_means_later() {
    let site = site(Script { greylist: ["ops@example.org".to_owned()].into(), ..Script::default() }).await;
    let first = send(&site.post, "ops@example.org").await;
    assert!(is_later(&first) && first.words().contains("greylisted"), "{first:?}");
    assert!(send(&site.post, "ops@example.org").await.is_accepted());
}

#[tokio::test]
async fn a_connection_cut_after_the_message_means_later_with_the_same_id() {
    let site = site(Script { cut_after_data: 1, ..Script::default() }).await;
    let cut = send(&site.post, "ops@example.org").await;
    assert!(is_later(&cut), "{cut:?}");
    assert!(send(&site.post, "ops@example.org").await.is_accepted());
    let mails = site.server.mails();
    assert_eq!(mails.iter().map(|m| m.answered).collect::<Vec<_>>(), [false, true]);
    assert_eq!(mails[0].message_id(), mails[1].message_id());
}

#[tokio::test]
async fn a_slow_server_is_not_waited_for_without_end() {
    let site = site(Script { delay_ms: 10_000, ..Script::default() }).await;
    let before = Instant::now();
    let slow = send(&site.post, "ops@example.org").await;
    assert!(is_later(&slow) && slow.words().contains("no answer within"), "{slow:?}");
    assert!(before.elapsed() < Duration::from_secs(6), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_server_that_is_away_means_later_and_the_second_one_takes_over() {
    let folder = TestFolder::new("smtp");
    let server = SmtpServer::start(folder.path(), Script::default(), None).await;
    let gone = {
        let folder = TestFolder::new("smtp");
        SmtpServer::start(folder.path(), Script::default(), None).await.port()
    };
    let alone = Post::servers(vec![plain(gone)]);
    assert!(is_later(&send(&alone, "ops@example.org").await));
    let both = Post::servers(vec![plain(gone), plain(server.port())]);
    for _ in 0..2 {
        let outcome = send(&both, "ops@example.org").await;
        assert!(outcome.is_accepted() && outcome.server().ends_with(&server.port().to_string()), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_busy_first_server_leaves_it_to_the_second_one() {
    let (folder, second) = (TestFolder::new("smtp"), TestFolder::new("smtp"));
    let busy = Script { greeting: Some("421 too busy".into()), ..Script::default() };
    let busy = SmtpServer::start(folder.path(), busy, None).await;
    let server = SmtpServer::start(second.path(), Script::default(), None).await;
    let both = Post::servers(vec![plain(busy.port()), plain(server.port())]);
    assert!(send(&both, "ops@example.org").await.is_accepted());
}

fn secure(port: u16, security: Security, authority: Option<&[u8]>, log_in: Option<(&str, &str)>) -> Post {
    let log_in = log_in.map(|(user, password)| (user.to_owned(), password.to_owned()));
    Post::servers(vec![
        Server::new("localhost".into(), Some(port), security, authority, log_in, None, limits()).unwrap(),
    ])
}

#[tokio::test]
async fn tls_by_both_ways_with_log_in() {
    let certificates = TestCertificates::new();
    let (tls, authority) = (certificates.tls(), std::fs::read(certificates.ca()).unwrap());
    for (security, script_tls) in [(Security::Starttls, TlsScript::Starttls), (Security::Tls, TlsScript::FromTheStart)]
    {
        let folder = TestFolder::new("smtp");
        let log_in = Some(("ordo".to_owned(), "pässword".to_owned()));
        let script = Script { tls: script_tls, log_in, ..Script::default() };
        let server = SmtpServer::start(folder.path(), script, Some((&tls.certificate, &tls.key))).await;
        let good = secure(server.port(), security, Some(&authority), Some(("ordo", "pässword")));
        let outcome = send(&good, "ops@example.org").await;
        assert!(outcome.is_accepted(), "{outcome:?}");
        assert!(server.mails()[0].encrypted);
        let wrong = secure(server.port(), security, Some(&authority), Some(("ordo", "other")));
        let outcome = send(&wrong, "ops@example.org").await;
        assert!(matches!(&outcome, Outcome::Trouble { why, .. } if why.contains("logging in")), "{outcome:?}");
        let none = secure(server.port(), security, Some(&authority), None);
        let outcome = send(&none, "ops@example.org").await;
        assert!(matches!(outcome, Outcome::Trouble { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_trouble_and_nothing_is_sent() {
    let (certificates, others) = (TestCertificates::new(), TestCertificates::new());
    let tls = certificates.tls();
    let authority = std::fs::read(others.ca()).unwrap();
    for (security, script_tls) in [(Security::Starttls, TlsScript::Starttls), (Security::Tls, TlsScript::FromTheStart)]
    {
        let folder = TestFolder::new("smtp");
        let script = Script { tls: script_tls, ..Script::default() };
        let server = SmtpServer::start(folder.path(), script, Some((&tls.certificate, &tls.key))).await;
        let outcome = send(&secure(server.port(), security, Some(&authority), None), "ops@example.org").await;
        assert!(matches!(&outcome, Outcome::Trouble { why, .. } if why.contains("certificate")), "{outcome:?}");
        assert!(server.mails().is_empty());
    }
}

#[tokio::test]
async fn without_starttls_nothing_is_sent_in_the_clear() {
    let site = site(Script::default()).await;
    let post = secure(site.server.port(), Security::Starttls, None, None);
    let outcome = send(&post, "ops@example.org").await;
    assert!(matches!(&outcome, Outcome::Trouble { why, .. } if why.contains("STARTTLS")), "{outcome:?}");
    assert!(site.server.mails().is_empty());
}

#[tokio::test]
async fn until_there_is_a_server_mails_are_files() {
    let folder = TestFolder::new("mails");
    let post = Post::Folder(folder.join("mail"));
    for _ in 0..2 {
        let outcome = post.send(&address("ordo@example.org"), &address("ops@example.org"), "../x/y", MESSAGE).await;
        assert!(outcome.is_accepted(), "{outcome:?}");
    }
    let mails = read_folder(&folder.join("mail"));
    assert_eq!(mails.len(), 1, "the same mail is the same file");
    assert_eq!(mails[0].subject(), "hello");
    let file = std::fs::read_dir(folder.join("mail")).unwrap().next().unwrap().unwrap().path();
    let outcome = send(&Post::Folder(file), "ops@example.org").await;
    assert!(matches!(outcome, Outcome::Trouble { .. }), "a file is no folder: {outcome:?}");
}
