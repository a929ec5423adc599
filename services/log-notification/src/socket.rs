//! The sockets: bound when they can be, drained fast, and never a reason to stop.

use crate::allow::plain;
use crate::frame::{Framer, trimmed};
use crate::guard::Why;
use crate::intake::Intake;
use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use ordo_runtime::CancellationToken;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// What the kernel may hold for us: half a second of the most that is taken. It gives less where `net.core.rmem_max` is less.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;
/// Datagrams that are taken before others get their turn.
const DRAIN: usize = 256;
/// The largest datagram there is.
const DATAGRAM: usize = 64 * 1024;
/// Read from a connection at a time.
const CHUNK: usize = 16 * 1024;
/// Between tries to bind: a twin on the same machine may give the port free.
const BIND_AGAIN: Duration = Duration::from_secs(2);
/// After an error of a socket that may be there again at once: too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells who listens where, for status and tests.
pub type Bound = Arc<Mutex<Vec<(&'static str, SocketAddr)>>>;

/// What all listeners share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub intake: Arc<Intake>,
    pub bound: Bound,
    pub longest: usize,
    pub idle: Duration,
    pub connections: usize,
    pub connections_per_sender: usize,
    pub stop: CancellationToken,
}

impl Shared {
    fn note(&self, protocol: &'static str, address: io::Result<SocketAddr>) {
        if let Ok(address) = address {
            tracing::info!(protocol, %address, "syslog is taken here");
            self.bound.lock().unwrap_or_else(PoisonError::into_inner).push((protocol, address));
        }
    }

    /// Tries until it succeeds; `None`: told to stop. Says once that it does not.
    async fn bound<T, F>(&self, protocol: &'static str, address: SocketAddr, mut bind: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        let mut said = false;
        loop {
            match bind().await {
                Ok(socket) => return Some(socket),
                Err(error) if !said => {
                    said = true;
                    tracing::warn!(protocol, %address, %error, "cannot listen for syslog there, trying on");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(BIND_AGAIN) => {}
            }
        }
    }
}

/// Takes datagrams until told to stop.
pub async fn udp(shared: Shared, address: SocketAddr) {
    let bind = || UdpSocket::bind(address);
    let Some(socket) = shared.bound("udp", address, bind).await else { return };
    if let Err(error) = setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER) {
        tracing::warn!(%error, "the receive buffer stays as it is");
    }
    shared.note("udp", socket.local_addr());
    let mut buffer = vec![0; DATAGRAM];
    let mut drops = Drops::new(&socket);
    let mut look = tokio::time::interval(shared.intake.say_every());
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = look.tick() => {
                shared.intake.missed(None, Why::Unread, drops.new_ones());
                continue;
            }
            ready = socket.readable() => if ready.is_err() { tokio::time::sleep(PAUSE).await },
        }
        drain(&shared, &socket, &mut buffer).await;
    }
}

async fn drain(shared: &Shared, socket: &UdpSocket, buffer: &mut [u8]) {
    let moment = shared.intake.moment();
    for _ in 0..DRAIN {
        match socket.try_recv_from(buffer) {
            Ok((length, from)) => {
                let sender = plain(from.ip());
                let message = trimmed(&buffer[..length]);
                let (message, cut) = message.split_at(message.len().min(shared.longest));
                if !message.is_empty() && shared.intake.admits(sender) {
                    shared.intake.take(&moment, sender, message, cut.len() as u64);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // What an earlier datagram of somebody met; the socket goes on.
            Err(error) => {
                tracing::debug!(%error, "receive");
                return;
            }
        }
    }
    // There is more: the others first.
    tokio::task::yield_now().await;
}

/// What the kernel threw away for want of room, from `/proc/net/udp`.
#[derive(Debug)]
struct Drops {
    inode: Option<u64>,
    known: u64,
}

impl Drops {
    fn new(socket: &UdpSocket) -> Self {
        let inode = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok();
        let inode =
            inode.and_then(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok());
        let mut drops = Self { inode, known: 0 };
        drops.new_ones();
        drops
    }

    fn new_ones(&mut self) -> u64 {
        let Some(inode) = self.inode else { return 0 };
        let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
        let found = tables.into_iter().find_map(|table| drops_in(&std::fs::read_to_string(table).ok()?, inode));
        let Some(found) = found else { return 0 };
        let more = found.saturating_sub(self.known);
        self.known = found;
        more
    }
}

/// The last column of the line whose tenth is the inode.
fn drops_in(table: &str, inode: u64) -> Option<u64> {
    table.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let found = columns.nth(9)?.parse::<u64>().ok()?;
        (found == inode).then(|| columns.next_back()?.parse().ok())?
    })
}

/// Who is connected.
#[derive(Debug, Default)]
struct Connections {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// One of them; leaves when dropped.
struct Place {
    connections: Arc<Mutex<Connections>>,
    sender: IpAddr,
}

impl Place {
    fn take(shared: &Shared, connections: &Arc<Mutex<Connections>>, sender: IpAddr) -> Option<Self> {
        let mut all = connections.lock().unwrap_or_else(PoisonError::into_inner);
        let of_sender = all.of.get(&sender).copied().unwrap_or_default();
        if all.all >= shared.connections || of_sender >= shared.connections_per_sender {
            return None;
        }
        all.all += 1;
        all.of.insert(sender, of_sender + 1);
        drop(all);
        Some(Self { connections: Arc::clone(connections), sender })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        all.all -= 1;
        match all.of.get_mut(&self.sender) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                all.of.remove(&self.sender);
            }
        }
    }
}

/// Takes connections until told to stop.
pub async fn tcp(shared: Shared, address: SocketAddr) {
    let bind = || TcpListener::bind(address);
    let Some(listener) = shared.bound("tcp", address, bind).await else { return };
    shared.note("tcp", listener.local_addr());
    let connections = Arc::new(Mutex::new(Connections::default()));
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "accept");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let sender = plain(from.ip());
        if !shared.intake.admits(sender) {
            continue;
        }
        match Place::take(&shared, &connections, sender) {
            Some(place) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    connection(&shared, stream, sender).await;
                    drop(place);
                });
            }
            None => shared.intake.missed(Some(sender), Why::Connection, 1),
        }
    }
}

/// Takes messages until the other side ends, is silent for too long, or we stop.
async fn connection(shared: &Shared, mut stream: TcpStream, sender: IpAddr) {
    let mut framer = Framer::new(shared.longest);
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            () = shared.stop.cancelled() => break,
            read = tokio::time::timeout(shared.idle, stream.read(&mut buffer)) => read,
        };
        let length = match read {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(length)) => length,
            Err(_) => {
                tracing::debug!(%sender, "connection closed, nothing came");
                break;
            }
        };
        let moment = shared.intake.moment();
        framer.feed(&buffer[..length], |message, cut| shared.intake.take(&moment, sender, message, cut));
    }
    let moment = shared.intake.moment();
    framer.finish(|message, cut| shared.intake.take(&moment, sender, message, cut));
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
