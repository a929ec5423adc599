//! Whom PostgreSQL runs as. It refuses root, so a root caller gives it another user's identity, and that user must be
//! able to reach the data folder and the programs.

use crate::ServersError;
use nix::unistd::{Gid, Uid, User, chown};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A user other than root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Its id.
    pub uid: Uid,
    /// Its group's id.
    pub gid: Gid,
}

impl Owner {
    /// None when we are not root and PostgreSQL can run as ourselves.
    ///
    /// # Errors
    /// When we are root and there is nobody else.
    pub fn for_postgres() -> Result<Option<Self>, ServersError> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        for name in ["postgres", "nobody"] {
            if let Ok(Some(user)) = User::from_name(name) {
                return Ok(Some(Self { uid: user.uid, gid: user.gid }));
            }
        }
        Err(ServersError::NoUser)
    }

    /// Whether this user may pass through every folder above `path`.
    pub fn reaches(self, path: &Path) -> bool {
        path.ancestors().skip(1).all(|folder| match fs::metadata(folder) {
            Ok(folder) => {
                let shift = if folder.uid() == self.uid.as_raw() {
                    6
                } else if folder.gid() == self.gid.as_raw() {
                    3
                } else {
                    0
                };
                folder.mode() >> shift & 1 == 1
            }
            // What is not there yet is made by us, for this user.
            Err(_) => true,
        })
    }

    /// Gives a folder and all in it to this user.
    ///
    /// # Errors
    /// When the ownership cannot be changed.
    pub fn take_over(self, path: &Path) -> Result<(), ServersError> {
        chown(path, Some(self.uid), Some(self.gid))
            .map_err(|errno| ServersError::file("hand over", path)(errno.into()))?;
        if path.is_dir() && !path.is_symlink() {
            for entry in fs::read_dir(path).map_err(ServersError::file("read", path))? {
                self.take_over(&entry.map_err(ServersError::file("read", path))?.path())?;
            }
        }
        Ok(())
    }
}

/// `wanted` where `owner` can reach it; else a fresh folder under `/var/lib/ordo` with a link to it in `wanted`'s place, so
/// that a person who looks there finds it, and the next start, too. Root's home is closed to others on most machines, and
/// opening it would be a worse answer.
///
/// # Errors
/// When neither can be made.
pub fn reachable_folder(wanted: &Path, owner: Option<Owner>) -> Result<PathBuf, ServersError> {
    let Some(owner) = owner else { return Ok(wanted.to_owned()) };
    if wanted.is_symlink() {
        return fs::canonicalize(wanted).map_err(ServersError::file("follow the link", wanted));
    }
    let parent = wanted.parent().unwrap_or(wanted);
    let real = fs::canonicalize(parent)
        .map_err(ServersError::file("find", parent))?
        .join(wanted.file_name().unwrap_or_default());
    if owner.reaches(&real) {
        return Ok(real);
    }
    let base = Path::new("/var/lib/ordo");
    fs::create_dir_all(base).map_err(ServersError::file("make the folder", base))?;
    let elsewhere = base.join(format!("postgres-{:08x}", rand::random::<u32>()));
    fs::create_dir(&elsewhere).map_err(ServersError::file("make the folder", &elsewhere))?;
    owner.take_over(&elsewhere)?;
    std::os::unix::fs::symlink(&elsewhere, wanted).map_err(ServersError::file("link", wanted))?;
    Ok(elsewhere)
}
