//! What every service has to bear, each once for any [`Candidate`]: kill -9 at every point, two instances at once, the
//! bus away, PostgreSQL away, rows and position of an older backup. In the end all that the journal asks for is done.

use crate::service_site::{Candidate, LIMIT, ServiceSite};
use nix::sys::signal::Signal;
use ordo_contract::heartbeat::Activity;
use ordo_testkit::{TestPostgres, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// Dies where it is told to, each point in turn, and at any other time; goes on where it was. Returns how often it died.
pub async fn killed_everywhere<C: Candidate>(site: &mut ServiceSite<C>) -> usize {
    let mut rng = StdRng::seed_from_u64(site.appended as u64);
    let mut deaths = 0;
    for point in C::points() {
        let mut process = site.spawn("s1", Some(point));
        // What the point needs may not happen at once.
        for round in 0.. {
            assert!(round < 200, "it never came to {point}");
            site.live(4).await;
            tokio::time::sleep(Duration::from_millis(60)).await;
            if let Some(status) = process.ended() {
                assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{point}: {status}");
                break;
            }
        }
        deaths += 1;
    }
    for _ in 0..4 {
        let process = site.spawn("s1", None);
        site.live(20).await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..900))).await;
        process.kill();
        deaths += 1;
    }
    let process = site.spawn("s1", None);
    site.wait_done().await;
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().await.code(), Some(0));
    deaths
}

async fn active_of<C: Candidate>(site: &ServiceSite<C>, names: [&'static str; 2]) -> &'static str {
    let mut active = None;
    wait_until(LIMIT, "one of two is active", async || {
        for name in names {
            if site.heartbeat(name).await.is_some_and(|beat| beat.activity == Activity::Active) {
                active = Some(name);
            }
        }
        active.is_some()
    })
    .await;
    active.unwrap()
}

/// Two processes of which one is killed, one frozen until the other took over, and one stopped in order.
pub async fn two_at_once<C: Candidate>(site: &mut ServiceSite<C>) {
    let names = ["s1", "s2"];
    let mut processes = names.map(|name| Some(site.spawn(name, None)));
    for harm in [Signal::SIGSTOP, Signal::SIGKILL, Signal::SIGTERM] {
        site.live(20).await;
        site.wait_caught_up().await;
        let active = usize::from(active_of(site, names).await == names[1]);
        let process = processes[active].take().unwrap();
        process.signal(harm);
        site.live(20).await;
        site.wait_done().await;
        if harm == Signal::SIGSTOP {
            // It wakes up, believes that it is active, and is not.
            process.signal(Signal::SIGCONT);
            site.live(20).await;
            site.wait_done().await;
            processes[active] = Some(process);
        } else {
            drop(process);
            processes[active] = Some(site.spawn(names[active], None));
        }
    }
}

pub async fn bus_away<C: Candidate>(site: &mut ServiceSite<C>) {
    let instance = site.start("s1");
    for _ in 0..2 {
        site.live(20).await;
        site.site.nats.kill().await;
        site.site.nats.start_again().await;
        site.live(10).await;
        site.wait_done().await;
    }
    instance.stop().await;
}

/// The site must have a PostgreSQL of its own.
pub async fn database_away<C: Candidate>(site: &mut ServiceSite<C>) {
    let instance = site.start("s1");
    for _ in 0..2 {
        site.live(20).await;
        site.postgres.kill().await;
        site.live(10).await;
        wait_until(LIMIT, "a heartbeat says that PostgreSQL is away", async || {
            let beat = site.heartbeat("s1").await;
            beat.is_some_and(|beat| beat.links.iter().any(|l| l.to == "PostgreSQL" && !l.ok))
        })
        .await;
        site.postgres.start_again().await;
        site.wait_done().await;
    }
    instance.stop().await;
}

/// Rows and position come from a copy; what was done since is done again, or known to be done, but not forgotten.
pub async fn restored<C: Candidate>(site: &mut ServiceSite<C>) {
    let instance = site.start("s1");
    site.live(40).await;
    site.wait_done().await;
    let copy = site.postgres.dump();
    site.live(40).await;
    site.wait_done().await;
    instance.stop().await;
    site.postgres = TestPostgres::start().await;
    site.postgres.restore(&copy);
    assert!(site.position().await < site.appended as u64);
    let instance = site.start("s1");
    // No new commit is needed for it to notice.
    site.wait_done().await;
    site.live(20).await;
    site.wait_done().await;
    instance.stop().await;
}
