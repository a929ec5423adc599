//! What the machine can do at all: nothing above it can be faster.

use crate::{RUNS, report::Report};
use ordo_contract::name::StreamKind;
use ordo_journal::{FollowFrom, Headers, Outgoing};
use ordo_testkit::TestFolder;
use ordo_tests::Up;
use std::{
    fs::OpenOptions,
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let mut one = Vec::new();
    let mut both = Vec::new();
    for _ in 0..RUNS {
        one.push(spawns(1, 200)?);
        both.push(spawns(4, 100)?);
    }
    report.add("limit: spawn of sh -c true, one thread", "per s", one, None);
    report.add("limit: spawn of sh -c true, four threads", "per s", both, None);
    let folder = TestFolder::new("fsync");
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join("file"))?;
    let mut samples = Vec::new();
    for _ in 0..200 {
        let begin = Instant::now();
        file.write_all(&[7; 512])?;
        file.sync_data()?;
        samples.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    report.add("limit: write of 512 bytes and fdatasync", "ms", samples, None);
    Ok(())
}

fn spawns(threads: usize, each: usize) -> anyhow::Result<f64> {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(move || -> std::io::Result<()> {
                    for _ in 0..each {
                        Command::new("/bin/sh").args(["-c", "true"]).stdin(Stdio::null()).status()?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|_| Err(std::io::Error::other("a thread ended"))))
    })?;
    Ok((threads * each) as f64 / begin.elapsed().as_secs_f64())
}

/// One synced publish, and how fast the journal can be read, as it is.
pub async fn bus(report: &mut Report, up: &Up) -> anyhow::Result<()> {
    let bus = up.bus("proxy").await;
    let mut samples = Vec::new();
    let cancel = CancellationToken::new();
    for i in 0..300 {
        // A command that is refused: it cannot be read, and nothing follows from it.
        let subject = bus.names().command("order", "add");
        let message = Outgoing::new(subject, Headers::new(), format!("not a command {i}"));
        let begin = Instant::now();
        bus.publish(&message, &cancel).await?;
        samples.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    report.add("limit: synced publish of a command", "ms", samples, None);
    let bus = up.bus("controller").await;
    let last = bus.last_sequence(StreamKind::Journal).await?;
    let begin = Instant::now();
    let mut follow = bus.follow(FollowFrom::journal(&bus, 1)).await?;
    while follow.position() <= last {
        follow.batch(500).await?;
    }
    report.add("limit: reading the journal", "per s", vec![last as f64 / begin.elapsed().as_secs_f64()], None);
    Ok(())
}
