//! Syslog taken without loss, UDP and TCP: a little more is offered than must be reached, for a minute, and counted on both sides.

use crate::report::{Reach, Report};
use anyhow::{Context, bail};
use ordo_contract::request::log_notification::{SYSLOG_SHOW, SyslogReply};
use ordo_tests::Up;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const LASTING: Duration = Duration::from_secs(60);
/// Offered a second; what must be reached.
const UDP: (u64, f64) = (6_000, 5_000.0);
const TCP: (u64, f64) = (24_000, 20_000.0);
/// Sent at once, then the next millisecond is waited for.
const STEP: Duration = Duration::from_millis(1);

pub async fn measure(report: &mut Report, up: &Up) -> anyhow::Result<()> {
    for (protocol, (rate, reach)) in [("udp", UDP), ("tcp", TCP)] {
        let before = show(up).await?;
        let address = before.listening.iter().find_map(|l| l.strip_prefix(protocol)?.trim().parse().ok());
        let address: std::net::SocketAddr = address.with_context(|| format!("nobody listens by {protocol}"))?;
        let begin = Instant::now();
        let sent = tokio::task::spawn_blocking(move || match protocol {
            "udp" => by_udp(address, rate),
            _ => by_tcp(address, rate),
        })
        .await??;
        let offering = begin.elapsed().as_secs_f64();
        let after = settled(up, &before, sent).await?;
        let taken = after.taken - before.taken;
        let lost = sent - taken;
        let what = format!("syslog: taken by {}, {} offered a second", protocol.to_uppercase(), rate);
        let bound =
            format!("lost {lost} of {sent} in {offering:.0} s, {} of them counted", after.untaken - before.untaken);
        report.add(what, "per s", vec![taken as f64 / offering], Some(bound)).reach(Reach::AtLeast(reach));
        let name = format!("syslog: lost by {}", protocol.to_uppercase());
        report.add(name, "messages", vec![lost as f64], None).reach(Reach::AtMost(0.0));
    }
    Ok(())
}

async fn show(up: &Up) -> anyhow::Result<SyslogReply> {
    let bus = up.client().await;
    let (noun, verb) = SYSLOG_SHOW.split_once('.').context("a noun and a verb")?;
    let user = bus.settings().user.clone();
    let subject = bus.names().instance(&user, "log-notification", "l1", noun, verb);
    let reply = bus.bus().request(&subject, "{}", Duration::from_secs(10)).await?;
    Ok(serde_json::from_slice(&reply)?)
}

/// Until all has come, or no more comes.
async fn settled(up: &Up, before: &SyslogReply, sent: u64) -> anyhow::Result<SyslogReply> {
    let mut last = 0;
    for _ in 0..50 {
        let now = show(up).await?;
        let taken = now.taken - before.taken;
        if taken >= sent || (taken == last && taken > 0) {
            return Ok(now);
        }
        last = taken;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    bail!("it does not come to an end")
}

/// As machines write them: mostly of no importance.
fn message(number: u64) -> String {
    match number % 100 {
        0 => format!(
            "<12>1 2026-11-25T10:00:00.123456Z web{} nginx {number} - - upstream timed out after {number} ms",
            number % 7
        ),
        n if n % 2 == 0 => format!(
            "<86>Nov 25 10:00:00 host{} sshd[{number}]: Accepted publickey for deploy from 10.0.0.{} port {}",
            number % 50,
            number % 250,
            number % 60_000
        ),
        _ => format!(
            "<30>1 2026-11-25T10:00:00.123456Z host{} systemd {number} - - Started session {number} of user deploy",
            number % 50
        ),
    }
}

/// Calls for each message, spread evenly over the time; returns how many there were.
fn paced(rate: u64, mut send: impl FnMut(u64) -> std::io::Result<()>) -> std::io::Result<u64> {
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < LASTING {
        let due = (begin.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due {
            send(sent)?;
            sent += 1;
        }
        std::thread::sleep(STEP);
    }
    Ok(sent)
}

fn by_udp(address: std::net::SocketAddr, rate: u64) -> std::io::Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(address)?;
    paced(rate, |number| socket.send(message(number).as_bytes()).map(|_| ()))
}

fn by_tcp(address: std::net::SocketAddr, rate: u64) -> std::io::Result<u64> {
    let mut stream = std::io::BufWriter::with_capacity(16 * 1024, TcpStream::connect(address)?);
    let sent = paced(rate, |number| {
        // Both framings, as they may come.
        let message = message(number);
        if number % 2 == 0 { writeln!(stream, "{message}") } else { write!(stream, "{} {message}", message.len()) }
    })?;
    stream.flush()?;
    Ok(sent)
}
