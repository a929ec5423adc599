//! The agent's memory: an append-only file of records, `records.jsonl`, one JSON object a line. One thread writes it and
//! syncs once for all that came meanwhile, so that many jobs at a time cost few syncs.
//!
//! A job that does not fit on the disk is refused at once; a report is never refused: it is tried until there is room.

use crate::claim::Record;
use ordo_domain::RunId;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// From this size on the file is worth writing anew.
const COMPACT_FROM: u64 = 8 * 1024 * 1024;
/// So many bytes must be free before a full disk counts as well again.
const ROOM: usize = 64 * 1024;
/// Between attempts on a full disk.
const AGAIN: Duration = Duration::from_millis(500);

/// What the writer tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logged {
    Job { run: RunId, stored: bool },
    Report { number: u64 },
}

enum Item {
    Append(Record),
    /// In place of all that was appended before.
    Replace(Vec<Record>),
    Flush(Sender<()>),
}

pub struct DiskLog {
    items: Sender<Item>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    bytes: AtomicU64,
    replaced_at: AtomicU64,
    failing: AtomicBool,
}

impl DiskLog {
    /// Reads what is there and starts the writer. A last line that is not whole was never synced and is dropped.
    ///
    /// # Errors
    /// When the file cannot be read or opened, or is broken in the middle.
    pub fn open(data: &Path, logged: impl Fn(Logged) + Send + 'static) -> io::Result<(Self, Vec<Record>)> {
        let path = data.join("records.jsonl");
        let (records, good) = read(&path)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        file.set_len(good)?;
        file.sync_all()?;
        File::open(data)?.sync_all()?;
        let state = Arc::new(State::default());
        state.bytes.store(good, Ordering::Relaxed);
        let (items, received) = channel();
        let mut writer = Writer { path, file, length: good, state: Arc::clone(&state), logged: Box::new(logged) };
        std::thread::Builder::new().name("records".into()).spawn(move || writer.run(&received))?;
        Ok((Self { items, state }, records))
    }

    /// Appends; [`Logged`] is told of jobs and reports.
    pub fn append(&self, record: Record) {
        let _ = self.items.send(Item::Append(record));
    }

    /// Whether it is time to [`Self::replace`].
    pub fn is_long(&self) -> bool {
        let bytes = self.state.bytes.load(Ordering::Relaxed);
        bytes > COMPACT_FROM && bytes > 4 * self.state.replaced_at.load(Ordering::Relaxed)
    }

    /// Writes the file anew with only these records.
    pub fn replace(&self, records: Vec<Record>) {
        // Until it is done, it is not asked for again.
        self.state.replaced_at.store(self.state.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        let _ = self.items.send(Item::Replace(records));
    }

    /// True while the disk takes nothing.
    pub fn is_failing(&self) -> bool {
        self.state.failing.load(Ordering::Relaxed)
    }

    /// Waits until all that was appended before is on disk, at most this long.
    pub fn flush(&self, limit: Duration) {
        let (done, wait) = channel();
        if self.items.send(Item::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(limit);
        }
    }
}

/// The records of a file and the length of its whole lines.
fn read(path: &Path) -> io::Result<(Vec<Record>, u64)> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        bytes => bytes?,
    };
    let (mut records, mut good) = (Vec::new(), 0);
    while let Some(length) = memchr::memchr(b'\n', &bytes[good..]) {
        match serde_json::from_slice(&bytes[good..good + length]) {
            Ok(record) => records.push(record),
            Err(error) => {
                // Not synced when the machine died, if nothing readable follows; else somebody broke it.
                let follows = bytes[good + length + 1..]
                    .split(|b| *b == b'\n')
                    .any(|line| serde_json::from_slice::<Record>(line).is_ok());
                if follows {
                    let line = records.len() + 1;
                    let text = format!(
                        "{} is broken in line {line}: {error}; to go on without it, move it away (runs that it alone knows will be lost)",
                        path.display()
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                tracing::warn!(path = %path.display(), dropped = bytes.len() - good, "records that were never synced are dropped");
                return Ok((records, good as u64));
            }
        }
        good += length + 1;
    }
    Ok((records, good as u64))
}

struct Writer {
    path: PathBuf,
    file: File,
    length: u64,
    state: Arc<State>,
    logged: Box<dyn Fn(Logged) + Send>,
}

impl Writer {
    fn run(&mut self, items: &Receiver<Item>) {
        let mut waiting: Vec<Record> = Vec::new();
        let mut flushes: Vec<Sender<()>> = Vec::new();
        loop {
            let first = if waiting.is_empty() && !self.state.failing.load(Ordering::Relaxed) {
                items.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                items.recv_timeout(AGAIN)
            };
            let mut replacement = None;
            match first {
                Ok(item) => {
                    for item in std::iter::once(item).chain(items.try_iter()) {
                        match item {
                            Item::Append(record) => waiting.push(record),
                            Item::Replace(records) => {
                                // What waits is in the new records too, but its writer wants to hear of it.
                                replacement = Some(records);
                            }
                            Item::Flush(done) => flushes.push(done),
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.look_for_room(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(records) = replacement
                && let Err(error) = self.replace(&records)
            {
                tracing::warn!(path = %self.path.display(), %error, "records not written anew, the old file goes on");
            }
            self.append(&mut waiting);
            if waiting.is_empty() {
                for done in flushes.drain(..) {
                    let _ = done.send(());
                }
            }
        }
    }

    /// Writes all that waits. Where the disk takes nothing, jobs are refused and the rest goes on waiting.
    fn append(&mut self, waiting: &mut Vec<Record>) {
        if waiting.is_empty() {
            return;
        }
        let outcome = lines(waiting).and_then(|bytes| self.write(&bytes));
        let failed = outcome.is_err();
        if let Err(error) = outcome
            && !self.state.failing.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(path = %self.path.display(), %error, "nothing can be stored, jobs are not taken and reports wait");
        }
        for record in std::mem::take(waiting) {
            match record {
                Record::Job(stored) => (self.logged)(Logged::Job { run: stored.job.run.clone(), stored: !failed }),
                record if failed => waiting.push(record),
                Record::Report(report) => (self.logged)(Logged::Report { number: report.number }),
                _ => {}
            }
        }
    }

    /// A small record may fit where the next one does not: a disk is well again when there is room for some.
    fn look_for_room(&mut self) {
        let room = self.file.write_all_at(&[b'\n'; ROOM], self.length);
        let cut = self.file.set_len(self.length);
        if room.and(cut).is_ok() && self.state.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the disk takes records again");
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(bytes, self.length).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a line would make the whole lines behind it unreadable.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.state.bytes.store(self.length, Ordering::Relaxed);
        Ok(())
    }

    fn replace(&mut self, records: &[Record]) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let bytes = lines(records)?;
        let mut file = File::create(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        (self.file, self.length) = (file, bytes.len() as u64);
        self.state.bytes.store(self.length, Ordering::Relaxed);
        self.state.replaced_at.store(self.length, Ordering::Relaxed);
        Ok(())
    }
}

fn lines(records: &[Record]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for record in records {
        serde_json::to_writer(&mut bytes, record)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn record(number: u64) -> Record {
        Record::Marks { number, epoch: 0 }
    }

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ordo-records-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn what_was_appended_is_there_again_and_a_torn_line_is_not() {
        let data = folder("torn");
        let (log, records) = DiskLog::open(&data, |_| {}).unwrap();
        assert!(records.is_empty());
        (1..=3).for_each(|number| log.append(record(number)));
        log.flush(Duration::from_secs(10));
        drop(log);
        let mut file = File::options().append(true).open(data.join("records.jsonl")).unwrap();
        file.write_all(b"{\"marks\":{\"num").unwrap();
        let (log, records) = DiskLog::open(&data, |_| {}).unwrap();
        assert_eq!(records, [record(1), record(2), record(3)]);
        log.append(record(4));
        log.replace(vec![record(4)]);
        log.append(record(5));
        log.flush(Duration::from_secs(10));
        let (_, records) = DiskLog::open(&data, |_| {}).unwrap();
        assert_eq!(records.last(), Some(&record(5)));
        assert!(records.contains(&record(4)) && !records.contains(&record(1)));
        fs::remove_dir_all(data).unwrap();
    }

    #[test]
    fn a_file_that_is_broken_in_the_middle_is_refused() {
        let data = folder("broken");
        fs::write(
            data.join("records.jsonl"),
            "{\"marks\":{\"number\":1,\"epoch\":0}}\n\0\0\n{\"marks\":{\"number\":2,\"epoch\":0}}\n",
        )
        .unwrap();
        let error = DiskLog::open(&data, |_| {}).err().unwrap().to_string();
        assert!(error.contains("is broken in line 2"), "{error}");
        fs::remove_dir_all(data).unwrap();
    }

    #[test]
    fn on_a_full_disk_jobs_are_refused_and_reports_wait() {
        let data = folder("full");
        let (sender, told) = mpsc::channel();
        let (log, _) = DiskLog::open(&data, move |logged| drop(sender.send(logged))).unwrap();
        // /dev/full takes nothing, and says so as a full disk does.
        let writer_sees = File::options().write(true).open("/dev/full").unwrap();
        let mut writer = Writer {
            path: data.join("other"),
            file: writer_sees,
            length: 0,
            state: Arc::new(State::default()),
            logged: Box::new(|_| {}),
        };
        let mut waiting = vec![record(1)];
        writer.append(&mut waiting);
        assert_eq!(waiting, [record(1)]);
        assert!(writer.state.failing.load(Ordering::Relaxed));
        writer.file = File::create(data.join("other")).unwrap();
        writer.append(&mut waiting);
        assert!(waiting.is_empty());
        writer.look_for_room();
        assert!(!writer.state.failing.load(Ordering::Relaxed));
        assert_eq!(fs::read_to_string(data.join("other")).unwrap().lines().count(), 1);
        log.flush(Duration::from_secs(1));
        assert!(told.try_recv().is_err());
        fs::remove_dir_all(data).unwrap();
    }
}
