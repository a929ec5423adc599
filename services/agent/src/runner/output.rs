//! What a job prints, on its way to the disk: cut into frames of at most 64 KiB, masked, counted, and kept to a limit
//! with the first and the last part.
//!
//! A frame is a header of 24 bytes (channel, length, bytes left out before it, time; little endian) and its bytes. The
//! frame with index i is chunk i + 1 of the run. The first half of the limit goes into `output` and is shipped while the
//! job runs; what comes later goes round in the files `tail.<n>`, oldest dropped, and gets its numbers at the end.

use super::folder::RunFolder;
use super::mask::{Masker, Secrets};
use memchr::memchr_iter;
use ordo_contract::output::CHUNK_BYTES;
use ordo_domain::run::report::OutputSummary;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

pub const HEADER_BYTES: usize = 24;
/// The last part is kept in this many files.
const TAIL_FILES: u64 = 8;
/// A run with more chunks than this no longer gets a new one at each change of the channel, only by size and time.
const COARSE_AFTER: u32 = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Stdout,
    Stderr,
}

impl Channel {
    fn index(self) -> usize {
        match self {
            Channel::Stdout => 0,
            Channel::Stderr => 1,
        }
    }
    pub fn word(self) -> &'static str {
        match self {
            Channel::Stdout => "stdout",
            Channel::Stderr => "stderr",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    pub channel: Channel,
    pub length: u32,
    /// Bytes left out between this frame and the one before.
    pub omitted: u64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

impl FrameHeader {
    fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = if self.channel == Channel::Stdout { 1 } else { 2 };
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.omitted.to_le_bytes());
        bytes[16..].copy_from_slice(&self.at_ms.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let channel = match bytes[0] {
            1 => Channel::Stdout,
            2 => Channel::Stderr,
            _ => return None,
        };
        let length = u32::from_le_bytes(*bytes[4..].first_chunk()?);
        let omitted = u64::from_le_bytes(*bytes[8..].first_chunk()?);
        let at_ms = i64::from_le_bytes(*bytes[16..].first_chunk()?);
        (length as usize <= CHUNK_BYTES).then_some(Self { channel, length, omitted, at_ms })
    }
}

/// One channel: bytes that are not a frame yet, behind room for the header.
#[derive(Debug)]
struct Pending {
    channel: Channel,
    bytes: Vec<u8>,
    masker: Masker,
    ends_open: bool,
}

impl Pending {
    fn new(channel: Channel) -> Self {
        Self { channel, bytes: Vec::new(), masker: Masker::default(), ends_open: false }
    }
    fn length(&self) -> usize {
        self.bytes.len().saturating_sub(HEADER_BYTES)
    }
}

#[derive(Debug)]
struct TailFile {
    number: u32,
    file: File,
    written: u64,
    payload: u64,
    frames: u32,
}

/// The output of one run that is being written.
#[derive(Debug)]
pub struct OutputWriter {
    folder: RunFolder,
    secrets: Secrets,
    pending: [Pending; 2],
    head: Option<File>,
    head_written: u64,
    head_frames: u32,
    head_limit: u64,
    tail_limit: u64,
    tails: VecDeque<TailFile>,
    in_tail: bool,
    next_tail: u32,
    summary: OutputSummary,
    /// Left out before the next frame, because the disk was full.
    skipped: u64,
    /// Dropped with old tail files.
    dropped: u64,
    failing: bool,
}

impl OutputWriter {
    pub fn new(folder: RunFolder, secrets: Secrets, limit: u64) -> Self {
        Self {
            folder,
            secrets,
            pending: [Pending::new(Channel::Stdout), Pending::new(Channel::Stderr)],
            head: None,
            head_written: 0,
            head_frames: 0,
            head_limit: limit / 2,
            tail_limit: limit - limit / 2,
            tails: VecDeque::new(),
            in_tail: false,
            next_tail: 0,
            summary: OutputSummary::default(),
            skipped: 0,
            dropped: 0,
            failing: false,
        }
    }

    /// Takes one read from a pipe; returns how many bytes came, 0 at its end. Never more than one chunk, so that a job
    /// that prints without end cannot keep the event loop.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there now.
    pub fn read_from(&mut self, pipe: &mut File, channel: Channel, at_ms: i64) -> io::Result<usize> {
        let other = &self.pending[1 - channel.index()];
        if other.length() > 0 && self.chunks() < COARSE_AFTER {
            self.seal(1 - channel.index(), at_ms);
        }
        let pending = &mut self.pending[channel.index()];
        if pending.bytes.is_empty() {
            pending.bytes.resize(HEADER_BYTES, 0);
        }
        let before = pending.bytes.len();
        let room = HEADER_BYTES + CHUNK_BYTES - before;
        let count = if self.secrets.is_empty() {
            pending.bytes.reserve_exact(room);
            pending.bytes.resize(before + room, 0);
            let outcome = pipe.read(&mut pending.bytes[before..]);
            pending.bytes.truncate(before + *outcome.as_ref().unwrap_or(&0));
            outcome?
        } else {
            let mut buffer = vec![0; room.min(CHUNK_BYTES / 4)];
            let count = pipe.read(&mut buffer)?;
            pending.masker.feed(&self.secrets, &buffer[..count], &mut pending.bytes);
            count
        };
        self.count(channel, before);
        if self.pending[channel.index()].length() >= CHUNK_BYTES {
            self.seal(channel.index(), at_ms);
        }
        Ok(count)
    }

    /// Counts what was appended behind `before`.
    fn count(&mut self, channel: Channel, before: usize) {
        let pending = &mut self.pending[channel.index()];
        let fresh = &pending.bytes[before..];
        if let Some(last) = fresh.last() {
            self.summary.bytes += fresh.len() as u64;
            self.summary.lines += memchr_iter(b'\n', fresh).count() as u64;
            pending.ends_open = *last != b'\n';
        }
    }

    /// True while there are bytes that are no frame yet.
    pub fn is_pending(&self) -> bool {
        self.pending.iter().any(|pending| pending.length() > 0)
    }

    /// Makes frames of what is pending.
    pub fn flush(&mut self, at_ms: i64) {
        for index in 0..2 {
            if self.pending[index].length() > 0 {
                self.seal(index, at_ms);
            }
        }
    }

    /// Frames that lie in the first part.
    pub fn head_frames(&self) -> u32 {
        self.head_frames
    }

    fn chunks(&self) -> u32 {
        self.head_frames + self.tails.iter().map(|tail| tail.frames).sum::<u32>()
    }

    /// The job is over: what it printed, how many frames lie in the first part, and what was dropped behind that.
    pub fn finish(&mut self, at_ms: i64) -> (OutputSummary, u32, u64) {
        for channel in [Channel::Stdout, Channel::Stderr] {
            let pending = &mut self.pending[channel.index()];
            if pending.bytes.is_empty() {
                pending.bytes.resize(HEADER_BYTES, 0);
            }
            let before = pending.bytes.len();
            pending.masker.finish(&self.secrets, &mut pending.bytes);
            self.count(channel, before);
            self.summary.lines += u64::from(self.pending[channel.index()].ends_open);
        }
        self.flush(at_ms);
        self.summary.chunks = self.chunks();
        if self.tails.is_empty() {
            (self.summary, self.head_frames, 0)
        } else {
            (self.summary, self.head_frames, self.dropped)
        }
    }

    /// Writes what is pending of one channel as frames. A masked read may have made more than one chunk of it.
    fn seal(&mut self, index: usize, at_ms: i64) {
        let mut bytes = std::mem::take(&mut self.pending[index].bytes);
        let channel = self.pending[index].channel;
        while bytes.len() > HEADER_BYTES {
            let length = (bytes.len() - HEADER_BYTES).min(CHUNK_BYTES);
            let rest = bytes.split_off(HEADER_BYTES + length);
            self.write(channel, &mut bytes, at_ms);
            if rest.is_empty() {
                break;
            }
            bytes.truncate(HEADER_BYTES);
            bytes.extend_from_slice(&rest);
        }
        bytes.clear();
        self.pending[index].bytes = bytes;
    }

    fn write(&mut self, channel: Channel, frame: &mut [u8], at_ms: i64) {
        let length = (frame.len() - HEADER_BYTES) as u64;
        if !self.in_tail && self.head_written + frame.len() as u64 > self.head_limit {
            self.in_tail = true;
        }
        let header = FrameHeader { channel, length: length as u32, omitted: self.skipped, at_ms };
        frame[..HEADER_BYTES].copy_from_slice(&header.encode());
        let outcome = if self.in_tail { self.write_tail(frame, length) } else { self.write_head(frame) };
        match outcome {
            Ok(()) => {
                self.skipped = 0;
                self.summary.kept_bytes += length;
            }
            Err(error) => {
                self.skipped += length;
                if !self.failing {
                    self.failing = true;
                    let run = self.folder.path().file_name().map(|name| name.to_string_lossy().into_owned());
                    tracing::warn!(run_id = run, %error, "output of a run cannot be written and is left out");
                }
            }
        }
    }

    fn write_head(&mut self, frame: &[u8]) -> io::Result<()> {
        let file = match &mut self.head {
            Some(file) => file,
            none => none.insert(File::options().create(true).truncate(false).write(true).open(self.folder.output())?),
        };
        // At its place, not at the end: what a full disk cut in the middle is written over.
        file.write_all_at(frame, self.head_written)?;
        self.head_written += frame.len() as u64;
        self.head_frames += 1;
        Ok(())
    }

    fn write_tail(&mut self, frame: &[u8], length: u64) -> io::Result<()> {
        let share = (self.tail_limit / TAIL_FILES).max(1);
        if self.tails.back().is_none_or(|tail| tail.written + frame.len() as u64 > share && tail.frames > 0) {
            while self.tails.len() as u64 >= TAIL_FILES {
                self.drop_oldest_tail()?;
            }
            let number = self.next_tail;
            let file = File::create(self.folder.tail(number))?;
            self.next_tail += 1;
            self.tails.push_back(TailFile { number, file, written: 0, payload: 0, frames: 0 });
        }
        let Some(tail) = self.tails.back_mut() else { return Ok(()) };
        tail.file.write_all_at(frame, tail.written)?;
        tail.written += frame.len() as u64;
        tail.payload += length;
        tail.frames += 1;
        Ok(())
    }

    fn drop_oldest_tail(&mut self) -> io::Result<()> {
        let Some(oldest) = self.tails.pop_front() else { return Ok(()) };
        self.dropped += oldest.payload;
        self.summary.kept_bytes -= oldest.payload;
        std::fs::remove_file(self.folder.tail(oldest.number))
    }
}

/// Reads the frames of a run in the order of its chunks.
#[derive(Debug)]
pub struct OutputReader {
    folder: RunFolder,
    file: Option<File>,
    /// Tail files to come; the first one carries what was dropped before it.
    tails: VecDeque<u32>,
    omitted: u64,
    in_tail: bool,
    next_chunk: u32,
}

/// A frame with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// From 1.
    pub chunk: u32,
    pub header: FrameHeader,
    pub bytes: Vec<u8>,
}

impl OutputReader {
    /// From the first chunk.
    pub fn new(folder: RunFolder) -> Self {
        Self { folder, file: None, tails: VecDeque::new(), omitted: 0, in_tail: false, next_chunk: 1 }
    }

    pub fn next_chunk(&self) -> u32 {
        self.next_chunk
    }

    /// The next frame of the first part, as long as its chunk is at most `through`.
    ///
    /// # Errors
    /// When the files cannot be read or are not what they should be.
    pub fn next_head(&mut self, through: u32) -> io::Result<Option<Frame>> {
        if self.in_tail || self.next_chunk > through {
            return Ok(None);
        }
        if self.file.is_none() {
            self.file = Some(File::open(self.folder.output())?);
        }
        let frame = self.read_frame()?;
        if frame.is_none() {
            let text = format!("{} has fewer frames than were written", self.folder.output().display());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        Ok(frame)
    }

    /// The next frame of a run that has ended; `None` after the last.
    ///
    /// # Errors
    /// As of [`Self::next_head`].
    pub fn next_of_all(&mut self, head_frames: u32, omitted: u64) -> io::Result<Option<Frame>> {
        if !self.in_tail {
            if self.next_chunk <= head_frames {
                return self.next_head(head_frames);
            }
            self.in_tail = true;
            self.file = None;
            self.tails = self.folder.tails()?.into();
            self.omitted = omitted;
        }
        loop {
            if self.file.is_none() {
                let Some(number) = self.tails.pop_front() else { return Ok(None) };
                self.file = Some(File::open(self.folder.tail(number))?);
            }
            match self.read_frame()? {
                Some(mut frame) => {
                    frame.header.omitted += std::mem::take(&mut self.omitted);
                    return Ok(Some(frame));
                }
                None => self.file = None,
            }
        }
    }

    /// A frame that is not whole is none: the runner died while it wrote it.
    fn read_frame(&mut self) -> io::Result<Option<Frame>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let start = file.stream_position()?;
        let mut header = [0; HEADER_BYTES];
        let whole = |outcome: io::Result<()>| match outcome {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            outcome => outcome.map(|()| true),
        };
        let header = if whole(file.read_exact(&mut header))? { FrameHeader::decode(&header) } else { None };
        let Some(header) = header else {
            file.seek(SeekFrom::Start(start))?;
            return Ok(None);
        };
        let mut bytes = vec![0; header.length as usize];
        if !whole(file.read_exact(&mut bytes))? {
            file.seek(SeekFrom::Start(start))?;
            return Ok(None);
        }
        let chunk = self.next_chunk;
        self.next_chunk += 1;
        Ok(Some(Frame { chunk, header, bytes }))
    }
}

/// What lies on disk of a run whose runner died: (summary, frames of the first part).
pub fn survey(folder: &RunFolder) -> (OutputSummary, u32) {
    let (mut summary, mut head_frames, mut last) = (OutputSummary::default(), 0, *b"\n");
    let mut take = |frame: &Frame| {
        summary.bytes += frame.bytes.len() as u64 + frame.header.omitted;
        summary.kept_bytes += frame.bytes.len() as u64;
        summary.lines += memchr_iter(b'\n', &frame.bytes).count() as u64;
        summary.chunks += 1;
        last = [frame.bytes.last().copied().unwrap_or(b'\n')];
    };
    let mut reader = OutputReader::new(folder.clone());
    if let Ok(file) = File::open(folder.output()) {
        reader.file = Some(file);
        while let Ok(Some(frame)) = reader.read_frame() {
            take(&frame);
            head_frames += 1;
        }
    }
    while let Ok(Some(frame)) = reader.next_of_all(head_frames, 0) {
        take(&frame);
    }
    summary.lines += u64::from(last != *b"\n");
    (summary, head_frames)
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
