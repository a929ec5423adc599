//! Where one message ends and the next begins on a connection: RFC 6587, by octet counting (`LENGTH SP MESSAGE`) or by
//! lines. Told apart anew for each message, since both begin with `<` once the length is taken off.
//!
//! Memory is bounded: of a message only `longest` bytes are kept, what follows is counted and passed over.

use memchr::memchr2;

/// Digits of a length: nobody sends messages of more than 10 MB.
const DIGITS: usize = 7;

/// Cuts a stream of bytes into messages.
#[derive(Debug)]
pub struct Framer {
    longest: usize,
    state: State,
    /// The beginning of a message whose end is not here yet; at most `longest` bytes.
    kept: Vec<u8>,
    /// Bytes of it that are not kept.
    cut: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a message. What is kept may be the length.
    Begin,
    Line,
    /// So many bytes are missing.
    Counted(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Line,
    /// After so many bytes begins a message of this length.
    Counted(usize, u64),
    Unclear,
}

fn found(bytes: &[u8]) -> Found {
    let digits = bytes.iter().take(DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > DIGITS || bytes[0] == b'0' {
        return Found::Line;
    }
    match (bytes.get(digits), bytes.get(digits + 1)) {
        (None, _) | (Some(b' '), None) => Found::Unclear,
        (Some(b' '), Some(b'<')) => {
            let length = bytes[..digits].iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            Found::Counted(digits + 1, length)
        }
        _ => Found::Line,
    }
}

impl Framer {
    pub fn new(longest: usize) -> Self {
        Self { longest, state: State::Begin, kept: Vec::new(), cut: 0 }
    }

    /// Takes the next bytes of the connection and hands out each message that is complete, without its frame, and the
    /// number of bytes that were cut off it. Empty ones are passed over.
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8], u64)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Begin => self.begin(rest),
                State::Line => self.line(rest, &mut take),
                State::Counted(missing) => self.counted(rest, missing, &mut take),
            };
        }
    }

    /// The connection has ended: what is here of the last message.
    pub fn finish(&mut self, take: impl FnMut(&[u8], u64)) {
        if let State::Counted(missing) = self.state {
            self.cut += missing;
        }
        self.hand_out(take);
    }

    /// Inside of a message: its end is still to come.
    pub fn is_waiting(&self) -> bool {
        self.state != State::Begin || !self.kept.is_empty()
    }

    fn begin<'b>(&mut self, rest: &'b [u8]) -> &'b [u8] {
        let mut used = 0;
        let found = if self.kept.is_empty() {
            found(rest)
        } else {
            // The length came in parts: byte by byte, there are few.
            loop {
                match found(&self.kept) {
                    Found::Unclear if used < rest.len() => {
                        self.kept.push(rest[used]);
                        used += 1;
                    }
                    found => break found,
                }
            }
        };
        match found {
            Found::Line => {
                if used > 0 {
                    // The byte that decided may be the end of the line.
                    self.kept.pop();
                    used -= 1;
                }
                self.state = State::Line;
            }
            Found::Counted(header, length) if self.kept.is_empty() => {
                self.state = State::Counted(length);
                used = header;
            }
            Found::Counted(header, length) => {
                self.kept.drain(..header);
                self.state = State::Counted(length.saturating_sub(self.kept.len() as u64));
            }
            Found::Unclear => {
                self.kept.extend_from_slice(&rest[used..]);
                used = rest.len();
            }
        }
        &rest[used..]
    }

    fn line<'b>(&mut self, rest: &'b [u8], take: impl FnMut(&[u8], u64)) -> &'b [u8] {
        match memchr2(b'\n', 0, rest) {
            Some(end) => {
                self.complete(&rest[..end], take);
                &rest[end + 1..]
            }
            None => {
                self.keep(rest);
                &[]
            }
        }
    }

    fn counted<'b>(&mut self, rest: &'b [u8], missing: u64, take: impl FnMut(&[u8], u64)) -> &'b [u8] {
        match usize::try_from(missing).ok().and_then(|missing| rest.split_at_checked(missing)) {
            Some((end, after)) => {
                self.complete(end, take);
                after
            }
            None => {
                self.keep(rest);
                self.state = State::Counted(missing - rest.len() as u64);
                &[]
            }
        }
    }

    /// What was kept and these last bytes are a message.
    fn complete(&mut self, last: &[u8], mut take: impl FnMut(&[u8], u64)) {
        if self.kept.is_empty() && self.cut == 0 {
            // The usual case, without a copy.
            self.state = State::Begin;
            let (message, cut) = last.split_at(last.len().min(self.longest));
            hand(message, cut.len() as u64, &mut take);
            return;
        }
        self.keep(last);
        self.hand_out(take);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.longest.saturating_sub(self.kept.len());
        let (kept, cut) = bytes.split_at(bytes.len().min(room));
        self.kept.extend_from_slice(kept);
        self.cut += cut.len() as u64;
    }

    fn hand_out(&mut self, mut take: impl FnMut(&[u8], u64)) {
        hand(&self.kept, self.cut, &mut take);
        self.state = State::Begin;
        self.kept.clear();
        // A connection that once had a long message does not keep room for another.
        self.kept.shrink_to(1024);
        self.cut = 0;
    }
}

fn hand(message: &[u8], cut: u64, mut take: impl FnMut(&[u8], u64)) {
    let message = if cut == 0 { trimmed(message) } else { message };
    if !message.is_empty() {
        take(message, cut);
    }
}

/// Without the line break that many senders put at the end, counted or not.
pub fn trimmed(mut message: &[u8]) -> &[u8] {
    while let [rest @ .., b'\n' | b'\r' | 0 | b' '] = message {
        message = rest;
    }
    message
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
