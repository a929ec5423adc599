//! The files of one run, `runs/<run>/`:
//!
//! | File | Written | Holds |
//! |---|---|---|
//! | `run.json` | before the spawn; a second line after it | whose run it is, which runner holds it; its main process |
//! | `output`, `tail.<n>` | while it runs | frames, see [`super::output`] |
//! | `results` | by the job | `name=value` lines |
//! | `end.json` | at the end, by one write | how it ended; the run is over when it is there and whole |

use super::protocol::{EndFacts, MainProcess, RunMeta};
use ordo_domain::RunId;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

/// What [`RunFolder::take`] found.
#[derive(Debug)]
pub enum Taken {
    Ours(RunFolder),
    /// Somebody was first.
    Before,
}

/// Where the runs of a data folder lie.
pub fn runs_folder(data: &Path) -> PathBuf {
    data.join("runs")
}

impl RunFolder {
    pub fn new(data: &Path, run: &RunId) -> Self {
        Self { path: runs_folder(data).join(run.as_str()) }
    }

    /// Makes the folder: exactly one caller ever wins a run.
    ///
    /// # Errors
    /// When it can neither be made nor is there: a full disk, a missing right.
    pub fn take(data: &Path, run: &RunId) -> io::Result<Taken> {
        let folder = Self::new(data, run);
        match fs::DirBuilder::new().mode(0o700).create(&folder.path) {
            Ok(()) => Ok(Taken::Ours(folder)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Taken::Before),
            Err(error) => Err(error),
        }
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

    /// Writes the first line of `run.json`; the file is handed back for the second.
    ///
    /// # Errors
    /// A full disk: then nothing may be started.
    pub fn write_meta(&self, meta: &RunMeta) -> io::Result<fs::File> {
        let mut file = fs::File::create(self.path.join("run.json"))?;
        let mut line = serde_json::to_vec(meta)?;
        line.push(b'\n');
        file.write_all(&line)?;
        Ok(file)
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
        fs::write(self.path.join("end.json"), serde_json::to_vec(end)?)
    }

    /// `None`: it has not ended, or its runner died, or the machine did while the file was written.
    pub fn end(&self) -> Option<EndFacts> {
        serde_json::from_slice(&fs::read(self.path.join("end.json")).ok()?).ok()
    }

    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}
