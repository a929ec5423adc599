//! The whole controller and several agents on a journal in memory and a simulated clock, with seeded loss, repetition,
//! redelivery to a twin, and crashes at every point.
//!
//! `SEEDS=10000` runs the seeds 0 to 9999 and reports what they reached; `SEED=17` runs one and tells its story;
//! `UNTIL=name` stops when that invariant was found broken. Seeds that once failed are in `regressions.txt` and always run.

mod agent;
mod bus;
mod catalog;
mod controller;
mod coverage;
mod invariant;
#[path = "sabotage/plants.rs"]
mod plants;
mod workload;
mod world;

use coverage::Coverage;
use invariant::Broken;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use world::World;

/// In `make test`; enough to reach every transition and every crash point.
const SHORT: u64 = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, wanted a number")))
}

fn run(seed: u64, coverage: &mut Coverage) -> Result<(), (Broken, Vec<String>)> {
    let mut world = World::new(seed);
    coverage.seeds += 1;
    world.run(coverage).map_err(|broken| (broken, std::mem::take(&mut world.story)))
}

/// The seeds that failed, with why.
fn run_all(seeds: Vec<u64>) -> (Coverage, Vec<(u64, Broken)>) {
    let next = AtomicU64::new(0);
    let until = std::env::var("UNTIL").ok();
    let total = Mutex::new(Coverage::default());
    let failed = Mutex::new(Vec::new());
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let mut coverage = Coverage::default();
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(&seed) = seeds.get(i) else { break };
                    if let Err((broken, _)) = run(seed, &mut coverage) {
                        eprintln!("seed {seed}: {broken}");
                        if until.as_ref() == Some(&broken.invariant) {
                            next.store(seeds.len() as u64, Ordering::Relaxed);
                        }
                        failed.lock().expect("not poisoned").push((seed, broken));
                    }
                    if i > 0 && i.is_multiple_of(1_000) {
                        eprintln!("{i} seeds in {:.0} s", begin.elapsed().as_secs_f64());
                    }
                }
                total.lock().expect("not poisoned").merge(coverage);
            });
        }
    });
    (total.into_inner().expect("not poisoned"), failed.into_inner().expect("not poisoned"))
}

#[test]
fn every_seed_holds_every_invariant() {
    if let Some(seed) = number("SEED") {
        if let Err((broken, story)) = run(seed, &mut Coverage::default()) {
            let tail = story.len().saturating_sub(number("STORY").unwrap_or(200) as usize);
            panic!("{}\nseed {seed}: {broken}", story[tail..].join("\n"));
        }
        return;
    }
    let regressions =
        include_str!("regressions.txt").lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    let seeds: Vec<u64> = regressions.chain(0..number("SEEDS").unwrap_or(SHORT)).collect();
    let (coverage, failed) = run_all(seeds);
    println!("{}", coverage.report());
    let missing = coverage.missing();
    assert!(
        failed.is_empty(),
        "{} seeds failed, such as {:?}",
        failed.len(),
        failed.iter().min_by_key(|(seed, _)| seed)
    );
    assert!(missing.is_empty(), "never reached: {}", missing.join(", "));
}

/// `make sabotage` plants them; here it is enough that they have not rotted.
#[test]
fn every_planted_bug_still_has_its_place() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent folder");
    for plant in plants::PLANTS {
        let Ok(file) = std::fs::read_to_string(root.join(plant.file)) else { panic!("{}: {}", plant.name, plant.file) };
        assert_eq!(file.matches(plant.find).count(), 1, "{} in {}", plant.name, plant.file);
        assert!(plant.replace.contains("PLANTED"), "{} has no switch", plant.name);
    }
}

#[test]
fn every_invariant_has_a_planted_bug_that_breaks_it() {
    let names: Vec<_> = invariant::names().collect();
    for plant in plants::PLANTS {
        assert!(names.contains(&plant.breaks), "{} breaks {}, which is none", plant.name, plant.breaks);
    }
    let excused = |name: &str| plants::WITHOUT.iter().any(|(without, _)| *without == name);
    let without: Vec<_> =
        names.iter().filter(|n| !excused(n) && !plants::PLANTS.iter().any(|p| p.breaks == **n)).collect();
    assert!(without.is_empty(), "nothing shows that these can be broken: {without:?}");
}

#[test]
fn a_seed_always_tells_the_same_story() {
    let story = |seed| {
        let mut world = World::new(seed);
        let outcome = world.run(&mut Coverage::default());
        (world.story, outcome)
    };
    assert_eq!(story(7), story(7));
}
