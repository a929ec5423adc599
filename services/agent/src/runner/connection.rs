//! One connection to the runner's socket: lines in, lines out, never blocking.

use super::protocol::{LINE_BYTES, Reply, Request};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// What may wait for a reader that does not read; beyond it the connection is closed. An agent finds everything again
/// in the run folders.
const WAITING_BYTES: usize = 16 * 1024 * 1024;

pub struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Watched for writing.
    pub writing: bool,
    pub attached: bool,
    pub broken: bool,
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl Connection {
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, input: Vec::new(), output: Vec::new(), writing: false, attached: false, broken: false })
    }

    /// Reads all that is there; the requests in it, or why a line is none.
    pub fn read(&mut self) -> Vec<Result<Request, String>> {
        let mut buffer = [0; 32 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.broken = true;
                    break;
                }
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.broken = true;
                    break;
                }
            }
        }
        let mut requests = Vec::new();
        let mut taken = 0;
        while let Some(length) = memchr::memchr(b'\n', &self.input[taken..]) {
            let line = &self.input[taken..taken + length];
            requests.push(serde_json::from_slice(line).map_err(|error| error.to_string()));
            taken += length + 1;
        }
        self.input.drain(..taken);
        if self.input.len() > LINE_BYTES {
            requests.push(Err(format!("a line is longer than {LINE_BYTES} bytes")));
            self.broken = true;
        }
        requests
    }

    /// Queues a reply and sends what can be sent.
    pub fn send(&mut self, reply: &Reply) {
        if serde_json::to_writer(&mut self.output, reply).is_err() {
            self.broken = true;
        }
        self.output.push(b'\n');
        self.flush();
        if self.output.len() > WAITING_BYTES {
            tracing::warn!("the agent does not read, its connection is closed");
            self.broken = true;
        }
    }

    pub fn flush(&mut self) {
        while !self.output.is_empty() && !self.broken {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.broken = true,
            }
        }
    }

    pub fn is_waiting(&self) -> bool {
        !self.output.is_empty()
    }
}
