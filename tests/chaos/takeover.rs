//! Fail-overs in a row: by each of the three ways of the lease, by hand-over, and after a restart of NATS.

use crate::support::{deploy, journal};
use nix::sys::signal::Signal;
use ordo_domain::{Event, controller::ControllerActivated};
use ordo_tests::Up;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn fail_overs_in_a_row_work_by_every_way() {
    let up = Up::start("takeover");
    deploy(&up, "ok.yaml", "workflow: ok\ndefaults: { agent: local }\nsteps:\n  - job: ok\n    command: [\"true\"]\n")
        .await;
    run_one(&up);

    // The holder's process is gone: nobody answers for it.
    // Its supervisor is held back, else the holder itself could be back first and take up its own lease.
    let first = last_activation(&up).await;
    up.hold_supervisor(true);
    up.kill(&process(&first));
    let second = next_activation(&up, &first).await;
    up.hold_supervisor(false);
    assert_eq!(second.how, "no responders");
    run_one(&up);

    // The holder hangs: its connection stands, its lease runs out, the marker says so. Back again, it is fenced.
    up.signal(&process(&second), Signal::SIGSTOP);
    let third = next_activation(&up, &second).await;
    up.signal(&process(&second), Signal::SIGCONT);
    assert_eq!(third.how, "marker");
    run_one(&up);

    // The holder hangs and no marker comes: a value without a time to live lies in its key.
    up.signal(&process(&third), Signal::SIGSTOP);
    let bus = up.bus("controller").await;
    let entry = bus.leases().get("controller").await.expect("readable").expect("there");
    bus.leases().put("controller", entry.value.expect("a value")).await.expect("writable");
    let fourth = next_activation(&up, &third).await;
    up.signal(&process(&third), Signal::SIGCONT);
    assert_eq!(fourth.how, "silence");
    run_one(&up);

    // NATS restarts; the holder goes on or another takes over, and the next fail-over works, too.
    up.kill("nats");
    run_one(&up);
    let fifth = last_activation(&up).await;
    up.kill(&process(&fifth));
    let sixth = next_activation(&up, &fifth).await;
    run_one(&up);

    // Told to stop, the holder hands over at once.
    wait_for_standby(&up).await;
    let begin = Instant::now();
    up.signal(&process(&sixth), Signal::SIGTERM);
    let seventh = next_activation(&up, &sixth).await;
    assert_eq!(seventh.how, "handed over");
    println!("hand-over seen after {:.2} s", begin.elapsed().as_secs_f64());
    run_one(&up);
}

fn process(activation: &ControllerActivated) -> String {
    format!("controller/{}", activation.instance)
}

/// As a person would who tries again while the site cannot be reached.
fn run_one(up: &Up) {
    let begin = Instant::now();
    loop {
        let added = up.ordo(&["order", "add", "ok", "--wait", "--timeout", "60s"]);
        let said = [String::from_utf8_lossy(&added.stdout), String::from_utf8_lossy(&added.stderr)].concat();
        match added.status.code() {
            Some(0) => return,
            Some(3) if begin.elapsed() < Duration::from_secs(30) => std::thread::sleep(Duration::from_millis(200)),
            code => panic!("exit code {code:?}: {said}"),
        }
    }
}

async fn last_activation(up: &Up) -> ControllerActivated {
    let commits = journal(up).await;
    let events = commits.into_iter().flat_map(|c| c.decisions).flat_map(|d| d.events);
    let activations = events.filter_map(|e| match e {
        Event::ControllerActivated(activated) => Some(activated),
        _ => None,
    });
    activations.last().expect("somebody was active")
}

async fn next_activation(up: &Up, before: &ControllerActivated) -> ControllerActivated {
    let begin = Instant::now();
    loop {
        let last = last_activation(up).await;
        if last.epoch > before.epoch {
            assert_eq!(last.epoch, before.epoch + 1, "one activation, not several");
            return last;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "nobody took over from {before:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wait_for_standby(up: &Up) {
    let begin = Instant::now();
    while !up.ordo_ok(&["status", "--json"]).contains("\"standby\"") {
        assert!(begin.elapsed() < Duration::from_secs(30), "a standby follows");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
