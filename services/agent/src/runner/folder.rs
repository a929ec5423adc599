//! The files of one run, `runs/<run>/`. The folder is made aside (`spare/`), filled with `run.json` and renamed into
//! place, which one caller wins.
//!
//! | File | Written | Holds |
//! |---|---|---|
//! | `run.json` | before the spawn; a second line after it | whose run it is, which runner holds it; its main process |
//! | `output`, `tail.<n>` | while it runs | frames, see [`super::output`] |
//! | `results` | by the job | `name=value` lines |
//! | `end.json` | at the end, by one write | how it ended; the run is over when it is there and whole |

use super::protocol::{EndFacts, MainProcess, RunMeta};
use nix::errno::Errno;
use ordo_domain::RunId;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

/// What [`Spares::take`] found.
#[derive(Debug)]
pub enum Taken {
    /// With the file `run.json`, for its second line.
    Ours(RunFolder, fs::File),
    /// Somebody was first.
    Before,
}

/// Where the runs of a data folder lie.
pub fn runs_folder(data: &Path) -> PathBuf {
    data.join("runs")
}

/// Where folders wait to be used again.
pub fn spare_folder(data: &Path) -> PathBuf {
    data.join("spare")
}

/// So many wait at most.
const SPARES: usize = 256;

impl RunFolder {
    pub fn new(data: &Path, run: &RunId) -> Self {
        Self { path: runs_folder(data).join(run.as_str()) }
    }

    /// All run folders of a data folder.
    ///
    /// # Errors
    /// When the folder of runs cannot be read.
    pub fn all(data: &Path) -> io::Result<Vec<(RunId, Self)>> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(runs_folder(data)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if let Some(run) = entry.file_name().to_str().and_then(|name| RunId::new(name).ok()) {
                found.push((run, Self { path: entry.path() }));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    pub fn output(&self) -> PathBuf {
        self.path.join("output")
    }

    pub fn tail(&self, number: u32) -> PathBuf {
        self.path.join(format!("tail.{number}"))
    }

    /// The tail files that are there, in order.
    pub fn tails(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if let Some(number) = name.to_str().and_then(|name| name.strip_prefix("tail.")?.parse().ok()) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub fn results(&self) -> PathBuf {
        self.path.join("results")
    }

    /// Whose run it is.
    ///
    /// # Errors
    /// `InvalidData`: not whole.
    pub fn read_meta(&self) -> io::Result<RunMeta> {
        let lines = fs::read(self.path.join("run.json"))?;
        Ok(serde_json::from_slice(lines.split(|b| *b == b'\n').next().unwrap_or_default())?)
    }

    /// `None`: not written, or not whole.
    pub fn meta(&self) -> Option<RunMeta> {
        serde_json::from_slice(self.run_lines()?.split(|b| *b == b'\n').next()?).ok()
    }

    /// `None`: its runner died before it could say.
    pub fn main_process(&self) -> Option<MainProcess> {
        serde_json::from_slice(self.run_lines()?.split(|b| *b == b'\n').nth(1)?).ok()
    }

    fn run_lines(&self) -> Option<Vec<u8>> {
        fs::read(self.path.join("run.json")).ok()
    }

    /// Writes the end. What a crash cut is no end: the run is lost then.
    ///
    /// # Errors
    /// A full disk; to be tried again.
    pub fn write_end(&self, end: &EndFacts) -> io::Result<()> {
        let bytes = serde_json::to_vec(end)?;
        let mut file = fs::File::options().create(true).truncate(false).write(true).open(self.path.join("end.json"))?;
        file.write_all(&bytes)?;
        file.set_len(bytes.len() as u64)
    }

    /// `None`: it has not ended, or its runner died, or the machine did while the file was written.
    pub fn end(&self) -> Option<EndFacts> {
        serde_json::from_slice(&fs::read(self.path.join("end.json")).ok()?).ok()
    }

    /// Makes room: the folder becomes a spare one, or goes where there are enough of them.
    ///
    /// # Errors
    /// When it can neither be emptied nor removed.
    pub fn recycle(&self, data: &Path) -> io::Result<()> {
        let spares = spare_folder(data);
        if fs::read_dir(&spares).map_or(SPARES, Iterator::count) >= SPARES {
            return fs::remove_dir_all(&self.path);
        }
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            match path.file_name().and_then(|name| name.to_str()) {
                Some("run.json" | "end.json") => {}
                Some("output") => fs::File::options().write(true).open(&path)?.set_len(0)?,
                _ if path.is_dir() => fs::remove_dir_all(&path)?,
                _ => fs::remove_file(&path)?,
            }
        }
        let Some(name) = self.path.file_name() else { return Ok(()) };
        fs::rename(&self.path, spares.join(name)).or_else(|_| fs::remove_dir_all(&self.path))
    }
}

/// Folders that were used and are empty now. A file system that gives out inodes which were just freed only reluctantly
/// (ext4 looks at each of them) makes the making and removing of a few files a third of the cost of a short job.
pub struct Spares {
    data: PathBuf,
    pool: Mutex<Pool>,
}

#[derive(Default)]
struct Pool {
    free: Vec<PathBuf>,
    /// Being filled by one of us, and seen by whoever lists the folder.
    in_use: BTreeSet<PathBuf>,
}

impl Spares {
    /// # Errors
    /// When their folder cannot be made.
    pub fn open(data: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(spare_folder(data))?;
        Ok(Self { data: data.to_owned(), pool: Mutex::default() })
    }

    /// Takes the folder of a run, with its `run.json` in it: exactly one caller ever wins a run.
    ///
    /// # Errors
    /// A full disk, a missing right: nothing was taken.
    pub fn take(&self, meta: &RunMeta) -> io::Result<Taken> {
        let target = RunFolder::new(&self.data, &meta.run);
        loop {
            let spare = self.reserve()?;
            let outcome = prepare(&spare, meta).and_then(|run_file| {
                rename_to_new(&spare, &target.path)?;
                Ok(run_file)
            });
            let mut pool = self.lock();
            pool.in_use.remove(&spare);
            match outcome {
                Ok(run_file) => return Ok(Taken::Ours(target, run_file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    pool.free.push(spare);
                    return Ok(Taken::Before);
                }
                // Somebody removed the spare one. Where the folder of runs is missing, that is no reason to try on.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !spare.exists() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A spare folder that nobody else fills.
    fn reserve(&self) -> io::Result<PathBuf> {
        let mut pool = self.lock();
        if pool.free.is_empty() {
            let there = fs::read_dir(spare_folder(&self.data))?.flatten().map(|entry| entry.path());
            let free: Vec<PathBuf> = there.filter(|path| !pool.in_use.contains(path)).collect();
            pool.free = free;
        }
        let path = match pool.free.pop() {
            Some(path) => path,
            None => {
                let path = spare_folder(&self.data).join(format!("new-{:016x}", rand::random::<u64>()));
                fs::DirBuilder::new().mode(0o700).create(&path)?;
                path
            }
        };
        pool.in_use.insert(path.clone());
        Ok(path)
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Overwrites what the last run left with the first line of `run.json`; the file is handed back for the second. Nothing
/// is cut to zero bytes: ext4 would write such a file out when it is closed, and the next run would wait for the disk.
fn prepare(spare: &Path, meta: &RunMeta) -> io::Result<fs::File> {
    let mut run_file = fs::File::options().create(true).truncate(false).write(true).open(spare.join("run.json"))?;
    match fs::File::options().write(true).open(spare.join("end.json")) {
        Ok(mut end) => {
            end.write_all(b"\n")?;
            end.set_len(1)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut line = serde_json::to_vec(meta)?;
    line.push(b'\n');
    run_file.write_all(&line)?;
    run_file.set_len(line.len() as u64)?;
    Ok(run_file)
}

/// Renames unless the new name is there already.
fn rename_to_new(old: &Path, new: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    match renameat2(AT_FDCWD, old, AT_FDCWD, new, RenameFlags::RENAME_NOREPLACE) {
        // A file system that does not know the flag: an empty folder is taken first, and may be replaced.
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            fs::DirBuilder::new().mode(0o700).create(new)?;
            fs::rename(old, new)
        }
        outcome => outcome.map_err(io::Error::from),
    }
}
