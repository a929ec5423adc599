//! The way back: standbys first, so that nobody takes over what is about to stop; then the active ones; the servers last.
//! Running jobs stay with their runner unless a person insists.

use super::Signals;
use super::roles::AGENT;
use super::start::Site;
use std::time::Duration;

/// After everything has stopped, a person has this long to say that the jobs shall end, too.
const SECOND_THOUGHT: Duration = Duration::from_secs(3);

/// Stops all in order.
pub async fn stop(mut site: Site, signals: &mut Signals) {
    let agent = site.layout().instance("agent", AGENT);
    let jobs = ordo_agent::runner_jobs(&agent);
    let screen = site.screen().clone();
    if !jobs.is_empty() {
        screen.line(&format!(
            "{} on under the runner{}:",
            count(jobs.len()),
            if signals.by_person() { "; Ctrl-C again ends them" } else { "" }
        ));
        for job in &jobs {
            screen.line(&format!("  {job}"));
        }
    }
    let mut insisted = false;
    for name in order(&site) {
        let Some(child) = site.take(&name) else { continue };
        screen.step(&format!("stopping {name}"));
        let stopping = child.stop();
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                () = &mut stopping => break,
                () = signals.again(), if !insisted => {
                    insisted = true;
                    screen.line("ending the jobs, too");
                }
            }
        }
    }
    let left = ordo_agent::runner_jobs(&agent);
    if !insisted && !left.is_empty() && signals.by_person() {
        insisted = tokio::time::timeout(SECOND_THOUGHT, signals.again()).await.is_ok();
    }
    if insisted {
        if let Err(error) = ordo_agent::end_runner(&agent) {
            screen.line(&format!("the jobs could not be ended: {error}"));
        }
    } else if !left.is_empty() {
        screen.line(&format!("stopped; {} on, the next `ordo up` takes over", count(left.len())));
        return;
    }
    screen.line("stopped");
}

fn count(jobs: usize) -> String {
    if jobs == 1 { "1 job goes".to_owned() } else { format!("{jobs} jobs go") }
}

/// The standby controller first, the active one next, then who has work and who serves people, the other services, and the
/// servers last.
fn order(site: &Site) -> Vec<String> {
    let standby = |name: &str| site.detail(name).is_some_and(|detail| detail.contains("standby"));
    let rank = |name: &str| match name.split('/').next().unwrap_or(name) {
        "controller" if standby(name) => 0,
        "controller" => 1,
        "agent" => 2,
        "proxy" => 3,
        "postgres" => 5,
        "nats" => 6,
        _ => 4,
    };
    let mut names = site.names();
    names.sort_by_cached_key(|name| rank(name));
    names
}
