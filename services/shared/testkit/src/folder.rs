//! A folder of its own for each test, gone when the test process is, in whatever way it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// Removed when dropped, and with the process at the latest. `ORDO_TEST_KEEP=1` keeps them all for a look.
#[derive(Debug)]
pub struct TestFolder {
    path: PathBuf,
}

impl TestFolder {
    /// An empty folder; `name` only helps a reader of `/tmp`.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = base().join(format!("{}-{name}", COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
        open(&path);
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        if !keep() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn keep() -> bool {
    std::env::var_os("ORDO_TEST_KEEP").is_some()
}

/// PostgreSQL may run as another user, who has to pass.
fn open(path: &Path) {
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o755));
}

/// One folder per process, with a watcher that removes it when the process ends, killed or not.
fn base() -> &'static Path {
    static BASE: OnceLock<(PathBuf, Option<Mutex<Child>>)> = OnceLock::new();
    let (path, _watcher) = BASE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("ordo-test-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
        open(&path);
        let watcher = (!keep()).then(|| watch(&path));
        (path, watcher.map(Mutex::new))
    });
    path
}

/// A shell whose standard input is a pipe that only we hold: it reads to the end when we are gone, then removes the
/// folder. It tries for some seconds, because servers that die with us write their last words first.
fn watch(path: &Path) -> Child {
    let script = "cat >/dev/null; for i in 1 2 3 4 5 6 7 8; do rm -rf \"$0\" 2>/dev/null; [ -e \"$0\" ] || exit 0; sleep 0.5; done";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(path).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().unwrap_or_else(|error| panic!("cannot start sh: {error}"))
}
