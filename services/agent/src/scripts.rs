//! Scripts by their hash: fetched once from the definition store, kept on disk, checked before use.

use ordo_domain::{ContentHash, limit};
use ordo_journal::Bus;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A script that was not used for so long is removed at the next start of the agent.
const KEPT: Duration = Duration::from_secs(60 * 86_400);
/// Between attempts while the bus is away. Whoever waits has a deadline.
const AGAIN: Duration = Duration::from_millis(200);

/// The scripts of one data folder. Cheap to clone.
#[derive(Clone)]
pub struct Scripts {
    folder: PathBuf,
    bus: Bus,
    /// Checked by this process: the command that runs it.
    known: Arc<Mutex<BTreeMap<ContentHash, Vec<String>>>>,
}

/// Why a script cannot be run.
#[derive(Debug, PartialEq, Eq)]
pub struct NoScript {
    /// For people.
    pub reason: String,
    /// Only the time did not suffice: the bus is away or slow.
    pub again: bool,
}

impl From<String> for NoScript {
    fn from(reason: String) -> Self {
        Self { reason, again: false }
    }
}

impl Scripts {
    /// # Errors
    /// When its folder cannot be made.
    pub fn open(data: &Path, bus: &Bus) -> io::Result<Self> {
        let folder = data.join("scripts");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        forget(&folder, KEPT)?;
        Ok(Self { folder, bus: bus.clone(), known: Arc::default() })
    }

    /// The command that runs it, where this process has checked it already.
    pub fn known(&self, hash: &ContentHash) -> Option<Vec<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    /// The command that runs it: itself where it begins with `#!`, else `/bin/sh -eu`.
    ///
    /// # Errors
    /// When there is none, or not in time.
    pub async fn command(&self, hash: &ContentHash, within: Duration) -> Result<Vec<String>, NoScript> {
        if let Some(command) = self.known(hash) {
            return Ok(command);
        }
        let path = self.folder.join(hash.as_str());
        let on_disk = fs::read(&path).ok().filter(|text| ContentHash::of(text) == *hash);
        if on_disk.is_some() {
            // Used: kept on.
            let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        }
        let text = match on_disk {
            Some(text) => text,
            None => {
                let text = tokio::time::timeout(within, self.fetch(hash)).await.map_err(|_| NoScript {
                    reason: format!("the script {hash} could not be fetched within {} ms", within.as_millis()),
                    again: true,
                })??;
                store(&path, &text).map_err(|error| format!("the script {hash} cannot be stored: {error}"))?;
                text
            }
        };
        let shown = path.to_string_lossy().into_owned();
        let command = if text.starts_with(b"#!") { vec![shown] } else { vec!["/bin/sh".into(), "-eu".into(), shown] };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(hash.clone(), command.clone());
        Ok(command)
    }

    async fn fetch(&self, hash: &ContentHash) -> Result<Vec<u8>, String> {
        loop {
            match self.bus.definition(hash.as_str()).await {
                Ok(Some(text)) if text.len() > limit::SCRIPT_BYTES => {
                    return Err(format!(
                        "the script {hash} is {} bytes long, at most {} are allowed",
                        text.len(),
                        limit::SCRIPT_BYTES
                    ));
                }
                Ok(Some(text)) => return Ok(text.to_vec()),
                Ok(None) => return Err(format!("the script {hash} is not in the definition store")),
                Err(error) if error.is_passing() => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(format!("the script {hash} cannot be fetched: {error}")),
            }
        }
    }
}

/// Removes what no agent here has used for so long; what is wanted again is fetched again.
fn forget(folder: &Path, kept: Duration) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > kept {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// As a whole or not at all: a runner may be about to read it.
fn store(path: &Path, text: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension(format!("{:08x}", rand::random::<u32>()));
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o700).open(&fresh)?;
    let written = file.write_all(text);
    drop(file);
    if let Err(error) = written.and_then(|()| fs::rename(&fresh, path)) {
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_nobody_used_for_long_is_removed() {
        let folder = std::env::temp_dir().join(format!("ordo-scripts-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (name, days) in [("old", 61), ("young", 59)] {
            let file = fs::File::create(folder.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
        }
        forget(&folder, KEPT).unwrap();
        assert!(!folder.join("old").exists() && folder.join("young").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
