//! Files that only their owner may read.

use crate::ServersError;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes a folder with all above it that is missing, for the owner only.
///
/// # Errors
/// When it cannot be made.
pub fn make_folder(path: &Path) -> Result<(), ServersError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(ServersError::file("make the folder", path))
}

/// Writes a file whole or not at all (fresh file, fsync, rename), readable by the owner only.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<(), ServersError> {
    write_with_mode(path, text, 0o600)
}

/// [`write`] for what is no secret.
///
/// # Errors
/// When it cannot be written.
pub fn write_with_mode(path: &Path, text: &str, mode: u32) -> Result<(), ServersError> {
    let failed = || ServersError::file("write", path);
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(fresh).map_err(failed())?;
    file.set_permissions(Permissions::from_mode(mode)).map_err(failed())?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed())?;
    fs::rename(fresh, path).map_err(failed())
}

/// The text of a file, or what `make` makes, written there first. Two calls give the same text.
///
/// # Errors
/// When the file can be neither read nor written.
pub fn read_or_make(path: &Path, make: impl FnOnce() -> String) -> Result<String, ServersError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = make();
            write(path, &format!("{text}\n"))?;
            Ok(text)
        }
        Err(error) => Err(ServersError::file("read", path)(error)),
    }
}

/// A password of 160 random bits without characters that an address or a shell would take for something.
pub fn password() -> String {
    let bytes: [u8; 20] = rand::random();
    data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase()
}
