//! The process that tests of services kill: this test binary once more, with this test alone.

use crate::cleanup_case::Cleanup;
use crate::log_case::LogNotification;
use crate::monitor_case::Monitor;
use crate::plan_case::Plan;
use crate::service_probe::Probe;
use crate::service_site::{Candidate, Told};

/// Does nothing unless a test started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "other tests start it as a process"]
async fn an_instance_in_a_process_of_its_own() {
    let Some(told) = Told::read() else { return };
    // No orphans: it goes with the test that started it.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
    ordo_runtime::logging::init("info");
    let shutdown = ordo_runtime::shutdown::on_signals().unwrap();
    let outcome = match told.role.as_str() {
        <Probe as Candidate>::ROLE => told.run::<Probe>(shutdown).await,
        <Monitor as Candidate>::ROLE => told.run::<Monitor>(shutdown).await,
        <Cleanup as Candidate>::ROLE => told.run::<Cleanup>(shutdown).await,
        <Plan as Candidate>::ROLE => told.run::<Plan>(shutdown).await,
        <LogNotification as Candidate>::ROLE => told.run::<LogNotification>(shutdown).await,
        other => panic!("{other} is no service of these tests"),
    };
    let exit = match outcome {
        Ok(()) => ordo_runtime::Exit::Done,
        Err(error) if error.downcast_ref::<ordo_runtime::exit::RestartWanted>().is_some() => {
            ordo_runtime::Exit::Restart
        }
        Err(_) => ordo_runtime::Exit::Failed,
    };
    std::process::exit(exit.code().into());
}
