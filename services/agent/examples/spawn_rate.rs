//! How many jobs a second the runner starts and ends, beside the bare rate of spawn, exec and wait on this machine in
//! the same minute: `cargo run --release -p ordo-agent --example spawn_rate [JOBS]`. Needs the binary `ordo-agent` of the
//! same profile (`cargo build --release -p ordo-agent`).

use ordo_agent::runner::folder::RunFolder;
use ordo_agent::runner::protocol::{Reply, Request, RunMeta, StartRequest};
use ordo_agent::runner::{connect, system};
use ordo_domain::RunId;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const UNDER_WAY: usize = 32;
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let jobs: usize = std::env::args().nth(1).map_or(Ok(2_000), |text| text.parse())?;
    let data = std::env::temp_dir().join(format!("ordo-spawn-rate-{}", std::process::id()));
    std::fs::create_dir_all(&data)?;
    let program = std::env::current_exe()?
        .parent()
        .and_then(Path::parent)
        .map(|folder| folder.join("ordo-agent"))
        .ok_or("no folder")?;
    let log = std::fs::File::create(data.join("runner.log"))?;
    let mut runner =
        Command::new(program).arg("runner").arg("--data").arg(&data).stdout(Stdio::null()).stderr(log).spawn()?;
    let outcome = measure(&data, jobs);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", runner.id()))?;
    let ticks: Vec<f64> = stat.split(' ').skip(13).take(2).filter_map(|text| text.parse().ok()).collect();
    if let [user, system] = ticks[..] {
        let each = |ticks: f64| ticks * 10_000.0 / (ROUNDS * (jobs + 200)) as f64;
        println!("CPU of the runner itself: {:.0} µs user, {:.0} µs system a job", each(user), each(system));
    }
    runner.kill()?;
    runner.wait()?;
    std::fs::remove_dir_all(&data)?;
    outcome
}

fn measure(data: &Path, jobs: usize) -> Result<(), Box<dyn std::error::Error>> {
    let stream = loop {
        let sockets = std::fs::read_dir(data.join("runner")).into_iter().flatten().flatten().map(|entry| entry.path());
        let socket: Option<PathBuf> = sockets.into_iter().find(|path| path.extension().is_some_and(|e| e == "sock"));
        if let Some(stream) = socket.and_then(|socket| connect(&socket).ok()) {
            break stream;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut agent = stream;
    send(&mut agent, &Request::Attach { build: "bench".into() })?;
    receive(&mut lines)?;
    let mut next = 0_u128;
    let (mut ratios, mut latencies) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let bare = bare(jobs);
        let started = Instant::now();
        let (mut sent, mut ended) = (0, 0);
        while ended < jobs {
            while sent < jobs && sent - ended < UNDER_WAY {
                next += 1;
                send(&mut agent, &Request::Start(Box::new(request(data, next))))?;
                sent += 1;
            }
            if let Reply::Ended { run, .. } = receive(&mut lines)? {
                ended += 1;
                // As the agent does when the end is reported.
                RunFolder::new(data, &run).recycle(data)?;
            }
        }
        let rate = jobs as f64 / started.elapsed().as_secs_f64();
        let started = Instant::now();
        for _ in 0..200 {
            next += 1;
            send(&mut agent, &Request::Start(Box::new(request(data, next))))?;
            loop {
                if let Reply::Ended { run, .. } = receive(&mut lines)? {
                    RunFolder::new(data, &run).recycle(data)?;
                    break;
                }
            }
        }
        let latency = started.elapsed().as_secs_f64() * 1e3 / 200.0;
        println!(
            "round {round}: bare {bare:.0}/s, runner {rate:.0}/s, ratio {:.2}; one after the other {latency:.2} ms each",
            rate / bare
        );
        ratios.push(rate / bare);
        latencies.push(latency);
    }
    ratios.sort_by(f64::total_cmp);
    latencies.sort_by(f64::total_cmp);
    println!("median ratio {:.2}, median latency {:.2} ms", ratios[ROUNDS / 2], latencies[ROUNDS / 2]);
    Ok(())
}

/// Spawn, exec and wait with nothing around it, on as many threads as help.
fn bare(jobs: usize) -> f64 {
    const THREADS: usize = 4;
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(move || {
                for _ in 0..jobs / THREADS {
                    let child = Command::new("/bin/sh").args(["-c", "true"]).stdin(Stdio::null()).status();
                    assert!(child.is_ok_and(|status| status.success()));
                }
            });
        }
    });
    jobs as f64 / started.elapsed().as_secs_f64()
}

fn request(data: &Path, number: u128) -> StartRequest {
    let base = [("PATH", "/usr/bin:/bin"), ("HOME", "/"), ("LANG", "C.UTF-8")];
    let name = |text: &str| text.to_owned();
    StartRequest {
        meta: RunMeta {
            run: RunId::from_bits(number),
            order: ordo_domain::OrderId::new("20261122-T1-bench").unwrap_or_else(|e| panic!("{e}")),
            workflow: ordo_domain::WorkflowName::new("bench").unwrap_or_else(|e| panic!("{e}")),
            position: ordo_domain::Position::new("job").unwrap_or_else(|e| panic!("{e}")),
            job: ordo_domain::Label::new("job").unwrap_or_else(|e| panic!("{e}")),
            attempt: 1,
            runner: String::new(),
            boot: String::new(),
        },
        arguments: vec![name("/bin/sh"), name("-c"), name("true")],
        base_env: base.map(|(key, value)| (name(key), name(value))).into(),
        env: BTreeMap::new(),
        directory: None,
        timeout_ms: None,
        kill_after_ms: 1_000,
        spawn_before_ms: system::boottime_ms() + 60_000,
        output_bytes: 1 << 20,
        secrets: data.join("secrets"),
    }
}

fn send(stream: &mut impl Write, request: &Request) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn receive(lines: &mut impl BufRead) -> std::io::Result<Reply> {
    let mut line = String::new();
    lines.read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
