use super::*;
use crate::backlog::Backlog;
use crate::config::SyslogConfig;
use ordo_contract::log::LogRecord;
use std::io::Write;
use std::time::Instant;
use tokio::io::AsyncWriteExt;

struct Listening {
    shared: Shared,
    backlog: Arc<Backlog>,
    udp: SocketAddr,
    tcp: SocketAddr,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("not within 20 s: {what}");
}

async fn listen(change: impl FnOnce(&mut SyslogConfig)) -> Listening {
    let mut config = SyslogConfig {
        udp: vec!["127.0.0.1:0".into()],
        tcp: vec!["127.0.0.1:0".into()],
        stored: 100_000,
        stored_per_sender: 100_000,
        ..SyslogConfig::default()
    };
    change(&mut config);
    let backlog = Arc::new(Backlog::default());
    let shared = crate::listen(&config, &backlog, &CancellationToken::new()).unwrap();
    let address = |protocol: &'static str| {
        let bound = Arc::clone(&shared.bound);
        async move {
            until("it listens", async || {
                let bound = bound.lock().unwrap();
                bound.iter().find(|(p, _)| *p == protocol).map(|(_, address)| *address)
            })
            .await
        }
    };
    let (udp, tcp) = (address("udp").await, address("tcp").await);
    Listening { shared, backlog, udp, tcp }
}

impl Listening {
    async fn lines(&self, count: usize) -> Vec<LogRecord> {
        let mut lines = Vec::new();
        while lines.len() < count {
            let more = tokio::time::timeout(Duration::from_secs(20), self.backlog.take()).await;
            lines.extend(more.unwrap_or_else(|_| panic!("only {} of {count} lines came", lines.len())));
        }
        lines
    }

    async fn texts(&self, count: usize) -> Vec<String> {
        self.lines(count).await.into_iter().map(|record| record.message).collect()
    }
}

#[tokio::test]
async fn both_framings_may_change_within_a_connection_and_in_pieces() {
    let it = listen(|_| {}).await;
    let mut stream = TcpStream::connect(it.tcp).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let counted = "<11>1 - h a - - - two\nlines";
    let bytes = format!("<11>1 - h a - - - one\n{} {counted}<11>1 - h a - - - three\r\n", counted.len());
    for piece in bytes.as_bytes().chunks(7) {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    stream.write_all(b"<11>1 - h a - - - last without an end").await.unwrap();
    drop(stream);
    assert_eq!(it.texts(4).await, ["one", "two\\nlines", "three", "last without an end"]);
}

#[tokio::test]
async fn datagrams_are_messages_and_long_ones_are_cut() {
    let it = listen(|config| config.longest_bytes = 100).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(b"<11>1 - h a - - - one\n", it.udp).await.unwrap();
    socket.send_to(b"", it.udp).await.unwrap();
    socket.send_to(b"\n\0", it.udp).await.unwrap();
    let long = format!("<11>1 - h a - - - {}", "x".repeat(50_000));
    socket.send_to(long.as_bytes(), it.udp).await.unwrap();
    let noise: Vec<u8> = (0..=255).collect();
    socket.send_to(&noise, it.udp).await.unwrap();
    socket.send_to(b"<11>1 - h a - - - \xff\xfe\0after", it.udp).await.unwrap();
    let texts = it.texts(3).await;
    assert_eq!(texts[0], "one");
    assert_eq!(texts[1], format!("{} … (49918 bytes more, cut off)", "x".repeat(82)));
    assert_eq!(texts[2], "\u{fffd}\u{fffd}\\u{0}after");
    assert_eq!(it.shared.intake.figures().taken, 4, "the noise was taken, too: as a notice of no importance");
}

#[tokio::test]
async fn senders_that_are_not_allowed_are_not_taken_and_counted() {
    let it = listen(|config| config.allow = vec!["192.0.2.0/24".into()]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for _ in 0..3 {
        socket.send_to(b"<11>1 - h a - - - x", it.udp).await.unwrap();
    }
    let mut stream = TcpStream::connect(it.tcp).await.unwrap();
    let _ = stream.write_all(b"<11>1 - h a - - - x\n").await;
    let mut byte = [0];
    assert!(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)), "the connection is closed");
    until("all are counted", async || (it.shared.intake.figures().untaken == 4).then_some(())).await;
    assert_eq!(it.shared.intake.figures().taken, 0);
    it.shared.intake.say_losses();
    let said = it.texts(1).await;
    assert_eq!(said, ["4 messages of 127.0.0.1 were not taken: 4 because syslog.allow does not name the sender"]);
}

#[tokio::test]
async fn there_are_only_so_many_connections_and_silent_ones_are_closed() {
    let it = listen(|config| {
        config.connections_per_sender = 2;
        config.idle = ordo_domain::Span::from_millis(300);
    })
    .await;
    let mut first = TcpStream::connect(it.tcp).await.unwrap();
    let mut second = TcpStream::connect(it.tcp).await.unwrap();
    first.write_all(b"<11>1 - h a - - - one\n").await.unwrap();
    second.write_all(b"<11>1 - h a - - - not finished").await.unwrap();
    assert_eq!(it.texts(1).await, ["one"]);
    let mut third = TcpStream::connect(it.tcp).await.unwrap();
    let mut byte = [0];
    assert!(matches!(third.read(&mut byte).await, Ok(0) | Err(_)), "the third is closed at once");
    assert_eq!(it.texts(1).await, ["not finished"], "closed for its silence, what had come of it counts");
    assert!(matches!(second.read(&mut byte).await, Ok(0) | Err(_)));
    let mut fourth = TcpStream::connect(it.tcp).await.unwrap();
    fourth.write_all(b"<11>1 - h a - - - there is room again\n").await.unwrap();
    assert_eq!(it.texts(1).await, ["there is room again"]);
    assert_eq!(it.shared.intake.figures().untaken, 1);
}

#[tokio::test]
async fn a_port_that_is_taken_is_waited_for() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = holder.local_addr().unwrap();
    let backlog = Arc::new(Backlog::default());
    let config = SyslogConfig { tcp: vec![address.to_string()], ..SyslogConfig::default() };
    let stop = CancellationToken::new();
    let shared = crate::listen(&config, &backlog, &stop).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(shared.bound.lock().unwrap().is_empty());
    drop(holder);
    until("it took the port over", async || shared.bound.lock().unwrap().first().copied()).await;
    stop.cancel();
}

/// Short here; `make bench` does it for a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_by_both_ways_are_taken_without_loss() {
    let it = listen(|_| {}).await;
    let (udp, tcp) = (it.udp, it.tcp);
    let (datagrams, lines) = (5_000, 20_000);
    let by_udp = std::thread::spawn(move || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let begin = Instant::now();
        for n in 0..datagrams {
            let due = Duration::from_micros(n * 400);
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
            socket.send_to(format!("<14>1 - host{n} app - - - message {n} of many").as_bytes(), udp).unwrap();
        }
    });
    let by_tcp = std::thread::spawn(move || {
        let mut stream = std::io::BufWriter::new(std::net::TcpStream::connect(tcp).unwrap());
        for n in 0..lines {
            writeln!(stream, "<14>Nov 25 10:00:00 host{n} app[7]: message {n} of many").unwrap();
        }
    });
    by_udp.join().unwrap();
    by_tcp.join().unwrap();
    until("all are taken", async || (it.shared.intake.figures().taken == datagrams + lines).then_some(())).await;
    assert_eq!(it.shared.intake.figures().untaken, 0);
}

#[test]
fn drops_are_found_in_the_table_of_the_kernel() {
    let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                 1094: 0100007F:158A 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 42\n";
    assert_eq!(drops_in(table, 4711), Some(42));
    assert_eq!(drops_in(table, 4712), None);
    assert_eq!(drops_in("", 1), None);
}
