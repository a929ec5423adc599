use super::*;
use crate::runner::folder::runs_folder;
use crate::runner::mask::Secrets;
use crate::runner::protocol::{RunMeta, StartRequest};
use crate::runner::spawn::Spawned;
use std::io::Write;
use std::os::unix::process::CommandExt;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ordo-loop-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn event_loop(data: &Path) -> EventLoop {
    let listener = UnixListener::bind(data.join("sock")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let active = File::create(data.join("active")).unwrap();
    EventLoop::new(data.to_owned(), "r1".into(), 4, Duration::from_millis(1), listener, active).unwrap()
}

#[test]
fn a_job_that_cannot_be_watched_is_ended_and_collected() {
    let data = Folder::new("unwatched");
    let mut event_loop = event_loop(&data.0);
    let run = RunId::from_bits(9);
    let folder = RunFolder::new(&data.0, &run);
    std::fs::create_dir_all(runs_folder(&data.0).join(run.as_str())).unwrap();
    let mut child = std::process::Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
    // No poll takes a file of a disk: as with a descriptor that it has no room for.
    let file = || File::create(data.0.join("file")).unwrap();
    let meta = RunMeta {
        run: run.clone(),
        order: "20261122-T1-x".parse().unwrap(),
        workflow: "x".parse().unwrap(),
        position: "a".parse().unwrap(),
        job: "a".parse().unwrap(),
        attempt: 1,
        runner: "r1".into(),
        boot: String::new(),
    };
    let request = StartRequest {
        meta,
        arguments: Vec::new(),
        base_env: BTreeMap::new(),
        env: BTreeMap::new(),
        directory: None,
        timeout_ms: None,
        kill_after_ms: 1_000,
        spawn_before_ms: 0,
        output_bytes: 1 << 20,
        secrets: PathBuf::new(),
    };
    let spawned = Spawned {
        request,
        folder: folder.clone(),
        secrets: Secrets::default(),
        pid: i32::try_from(child.id()).unwrap(),
        handle: file().into(),
        stdout: file(),
        stderr: file(),
        at: system::now(),
    };
    event_loop.watch(Job::new(spawned));
    event_loop.run().unwrap();
    assert_eq!(folder.end().unwrap().facts.end, RunEnd::Signalled { signal: libc::SIGKILL });
    assert!(child.wait().is_err(), "it was collected");
}

#[test]
fn timers_of_jobs_that_are_over_do_not_pile_up() {
    let data = Folder::new("timers");
    let mut event_loop = event_loop(&data.0);
    for number in 0..100_000 {
        event_loop.set_timer(Duration::from_secs(86_400), Timer::TimeLimit(number));
    }
    event_loop.set_timer(Duration::from_secs(1), Timer::Sweep);
    assert!(event_loop.timers.len() < 300, "{}", event_loop.timers.len());
    assert_eq!(event_loop.timers.peek().unwrap().0.1, Timer::Sweep);
}

#[test]
fn a_log_that_is_too_large_is_set_aside_while_it_is_written() {
    let data = Folder::new("log");
    let log = data.0.join(LOG);
    set_aside(&log, 10).unwrap();
    let mut writer = File::options().create(true).append(true).open(&log).unwrap();
    writer.write_all(b"0123456789").unwrap();
    set_aside(&log, 10).unwrap();
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 10);
    writer.write_all(b"+").unwrap();
    set_aside(&log, 10).unwrap();
    writer.write_all(b"again").unwrap();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "again");
    assert_eq!(std::fs::read_to_string(data.0.join("runner.log.1")).unwrap(), "0123456789+");
}
