//! Where a user's Ordo lives when nobody said otherwise (XDG base directories).

use std::path::PathBuf;

/// `$XDG_DATA_HOME/ordo`, else `~/.local/share/ordo`: what `ordo up` keeps between runs, and where the command line
/// looks for `ordo.env`.
pub fn data_home() -> PathBuf {
    let base = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    base.unwrap_or_else(std::env::temp_dir).join("ordo")
}

/// The file `ordo up` writes for shells and for Ordo's own command line.
pub fn env_file() -> PathBuf {
    data_home().join("ordo.env")
}

/// This machine's name, cut to what a node may be called (`[A-Za-z0-9_-]{1,40}`).
pub fn node_name() -> String {
    let raw = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let short = raw.trim().split('.').next().unwrap_or_default();
    let clean: String = short
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' })
        .take(40)
        .collect();
    if clean.is_empty() { "node".to_owned() } else { clean }
}
