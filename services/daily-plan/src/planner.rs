//! The loop of the active instance. Each pass makes the plan what schedules and the journal say, and asks the controller for
//! what is due. A pass that breaks off anywhere is gone on with by the next one, here or elsewhere.

use crate::command;
use crate::outline::{self, Around};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use chrono_tz::Tz;
use ordo_contract::request::daily_plan::PlanRunReply;
use ordo_domain::catalog::{CatalogDefinition, StartNotPlanned, StartNote};
use ordo_domain::plan::Schedule;
use ordo_domain::{DefinitionName, WorkflowName};
use ordo_journal::Outgoing;
use ordo_runtime::{Clock, SystemClock};
use ordo_service::{Active, Stop};
use ordo_store::plan::{PlanChange, PlanUpdate, PlannedSchedule};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

/// Changes of schedules, and starts to be handed over or taken back, in one pass.
const CHANGES: i64 = 100;
const STARTS: i64 = 1_000;
/// Between passes, so that starts go together; and between looks at the clock, which may jump.
const BREATH: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(1);
/// Starts of a busy plan are handed over together, some time before they must be.
const GATHER: TimeDelta = TimeDelta::milliseconds(500);
/// A body that is not there is looked for again.
const BODY_AGAIN: TimeDelta = TimeDelta::seconds(5);

/// Who asked to plan now, and waits for what it did.
pub(crate) type Runs = mpsc::UnboundedReceiver<oneshot::Sender<PlanRunReply>>;

/// What is known of a schedule between passes.
struct Known {
    planned: PlannedSchedule,
    look_at: DateTime<Utc>,
}

/// As exact as the database, so that what is read again is what was written.
fn now() -> DateTime<Utc> {
    SystemClock.now().trunc_subsecs(6)
}

pub(crate) struct Planner<'a> {
    active: &'a Active,
    site: Tz,
    schedules: BTreeMap<DefinitionName, Known>,
    /// Everything that has no outcome yet is asked again: by whom it was asked, is not known.
    ask_all: bool,
    body_again_at: DateTime<Utc>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(active: &'a Active, site: Tz) -> Self {
        Self { active, site, schedules: BTreeMap::new(), ask_all: true, body_again_at: DateTime::default() }
    }

    pub(crate) async fn run(mut self, runs: &mut Runs) -> Result<(), Stop> {
        self.active.caught_up().await?;
        let mut written = self.active.wakes.written();
        let mut nudged = self.active.wakes.runs();
        let mut waiting: Vec<oneshot::Sender<PlanRunReply>> = Vec::new();
        let mut full = true;
        loop {
            let began = Instant::now();
            written.mark_unchanged();
            if full {
                self.load().await?;
            }
            let (done, next) = self.pass(now()).await?;
            if done != PlanRunReply::default() {
                tracing::debug!(?done, "planned");
            }
            for asker in waiting.drain(..) {
                // Who asked may be gone.
                let _ = asker.send(done);
            }
            full = false;
            let breath = BREATH.saturating_sub(began.elapsed());
            sleep(breath).await;
            loop {
                let now = now();
                if now >= next || next - now > TimeDelta::days(1) {
                    break;
                }
                let pause = (next - now).to_std().unwrap_or_default().min(LOOK);
                tokio::select! {
                    () = self.active.stop.cancelled() => return Err(Stop::Told),
                    Ok(()) = written.changed() => break,
                    Ok(()) = nudged.changed() => {
                        full = true;
                        break;
                    }
                    Some(asker) = runs.recv() => {
                        waiting.push(asker);
                        full = true;
                        break;
                    }
                    () = sleep(pause) => {}
                }
            }
        }
    }

    /// Reads all schedules anew, to be planned on at once.
    async fn load(&mut self) -> Result<(), Stop> {
        let all = self.active.retry(|| self.active.store().planned_schedules()).await?;
        let look_at = DateTime::default();
        self.schedules =
            all.into_iter().map(|planned| (planned.schedule.clone(), Known { planned, look_at })).collect();
        Ok(())
    }

    /// What was done, and when there is something to do again.
    async fn pass(&mut self, now: DateTime<Utc>) -> Result<(PlanRunReply, DateTime<Utc>), Stop> {
        let (active, mut done) = (self.active, PlanRunReply::default());
        let outlook = active.retry(|| active.store().plan_outlook()).await?;
        if outlook.changes && (now >= self.body_again_at || now < self.body_again_at - BODY_AGAIN) {
            self.changes(now, &mut done).await?;
        }
        self.plan_on(now, &mut done).await?;
        if outlook.recalls || done.withdrawn > 0 || done.planned > 0 {
            let asked = active.retry(|| active.store().recall(now, STARTS, command::group_recalls)).await?;
            done.recalled += asked.iter().map(|a| a.about.len() as u64).sum::<u64>();
            self.send(asked.iter().map(|asked| command::back(active.bus.names(), asked, now))).await?;
        }
        done.submitted += self.submit(now).await?;
        self.ask_again(now).await?;
        let outlook = active.retry(|| active.store().plan_outlook()).await?;
        Ok((done, self.next(now, outlook)))
    }

    fn next(&self, now: DateTime<Utc>, outlook: ordo_store::plan::Outlook) -> DateTime<Utc> {
        let looks = self.schedules.values().filter(|known| known.planned.active).map(|known| known.look_at);
        // What is late already goes at once; what is early may wait for others.
        let submit_at = outlook.submit_at.map(|at| if at <= now { now } else { at.max(now + GATHER) });
        let body_at = outlook.changes.then_some(self.body_again_at.max(now));
        let others = [submit_at, outlook.again_at, body_at].into_iter().flatten();
        looks.chain(others).min().unwrap_or(now + TimeDelta::hours(1)).min(now + TimeDelta::hours(1))
    }

    // ---- schedules ----------------------------------------------------------------------------------------------------

    /// In the order of the journal. One whose definition cannot be read holds up what comes after it of the same schedule.
    async fn changes(&mut self, now: DateTime<Utc>, done: &mut PlanRunReply) -> Result<(), Stop> {
        let active = self.active;
        let mut held_up: BTreeSet<DefinitionName> = BTreeSet::new();
        loop {
            let changes = active.retry(|| active.store().plan_changes(CHANGES)).await?;
            if changes.iter().all(|change| held_up.contains(&change.schedule)) {
                return Ok(());
            }
            self.load_new(&changes).await?;
            for (n, change) in changes.iter().enumerate() {
                let again = |later: &PlanChange| later.schedule == change.schedule && later.change != "suspended";
                let is_superseded = changes[n + 1..].iter().any(again);
                if held_up.contains(&change.schedule) || self.change(change, is_superseded, now, done).await? {
                    continue;
                }
                held_up.insert(change.schedule.clone());
                self.body_again_at = now + BODY_AGAIN;
            }
        }
    }

    async fn load_new(&mut self, changes: &[PlanChange]) -> Result<(), Stop> {
        if changes.iter().all(|change| self.schedules.contains_key(&change.schedule)) {
            return Ok(());
        }
        let all = self.active.retry(|| self.active.store().planned_schedules()).await?;
        for planned in all {
            let known = Known { look_at: DateTime::default(), planned };
            self.schedules.entry(known.planned.schedule.clone()).or_insert(known);
        }
        Ok(())
    }

    /// False: its definition cannot be read now.
    async fn change(
        &mut self,
        change: &PlanChange,
        is_superseded: bool,
        now: DateTime<Utc>,
        done: &mut PlanRunReply,
    ) -> Result<bool, Stop> {
        let (active, name) = (self.active, &change.schedule);
        let definition = match change.change.as_str() {
            "deployed" => match self.body(change).await? {
                Ok(schedule) => Some(schedule),
                // It is history already: the one before it counts until the next one does.
                Err(_) if is_superseded => None,
                Err(why) => {
                    self.trouble(change, &why).await?;
                    return Ok(false);
                }
            },
            _ => None,
        };
        // Up to the change the schedule as it was counts.
        self.extend(name, Some(change.at), now, done).await?;
        let Some(known) = self.schedules.get(name) else { return Ok(true) };
        let existing = active.retry(|| active.store().existing_starts(name, change.at)).await?;
        let skips = active.retry(|| active.store().skips(name, change.at)).await?;
        let around = Around { now, site: self.site, skips: &skips, ahead: 0 };
        let update = outline::carry_out(&known.planned, change, definition.as_ref(), &existing, around);
        tracing::info!(
            schedule = %name,
            change = change.change,
            version = change.version,
            planned = update.starts.len(),
            withdrawn = update.withdrawn.len(),
            "schedule planned"
        );
        self.write(update, now, done).await?;
        Ok(true)
    }

    async fn body(&self, change: &PlanChange) -> Result<Result<Schedule, String>, Stop> {
        let active = self.active;
        let Some(body) = active.retry(|| active.bus.definition(change.hash.as_str())).await? else {
            return Ok(Err("its definition is not in the definition store: deploy it again".to_owned()));
        };
        Ok(match serde_json::from_slice(&body) {
            Ok(CatalogDefinition::Schedule(schedule)) => Ok(schedule),
            Ok(other) => Err(format!("its definition is one of {} {}", other.kind(), other.name())),
            Err(error) => Err(format!("its definition cannot be read: {error}")),
        })
    }

    async fn trouble(&self, change: &PlanChange, why: &str) -> Result<(), Stop> {
        let active = self.active;
        let of = self.schedules.get(&change.schedule).and_then(|known| known.planned.definition.as_ref());
        let workflow = of.map(|schedule| schedule.workflow.clone()).or_else(|| WorkflowName::new("unknown").ok());
        let Some(workflow) = workflow else { return Ok(()) };
        let reason = format!("version {}: {why}", change.version);
        let note = StartNotPlanned { schedule: change.schedule.clone(), workflow, start: None, reason: reason.clone() };
        let Some(note) = command::note(StartNote::NotPlanned(note)) else { return Ok(()) };
        if active.retry(|| active.store().plan_trouble(&change.schedule, &reason, &note)).await? {
            tracing::warn!(schedule = %change.schedule, reason, "schedule not planned");
        }
        Ok(())
    }

    /// Plans on what is due to be looked at.
    async fn plan_on(&mut self, now: DateTime<Utc>, done: &mut PlanRunReply) -> Result<(), Stop> {
        let due = |known: &&Known| {
            // A clock that went back: what was far ahead is so no more.
            known.planned.active && (known.look_at <= now || known.look_at > now + TimeDelta::hours(2))
        };
        let names: Vec<DefinitionName> =
            self.schedules.values().filter(due).map(|known| known.planned.schedule.clone()).collect();
        for name in names {
            self.extend(&name, None, now, done).await?;
            if let Some(known) = self.schedules.get_mut(&name) {
                known.look_at = outline::look_at(&known.planned, now);
            }
        }
        Ok(())
    }

    async fn extend(
        &mut self,
        name: &DefinitionName,
        until: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
        done: &mut PlanRunReply,
    ) -> Result<(), Stop> {
        let active = self.active;
        let Some(known) = self.schedules.get(name).filter(|known| known.planned.active) else { return Ok(()) };
        let Some(through) = known.planned.planned_through else { return Ok(()) };
        if until.is_some_and(|until| until <= through) {
            return Ok(());
        }
        let skips = active.retry(|| active.store().skips(name, through.min(now))).await?;
        let ahead = active.retry(|| active.store().starts_ahead(name, now)).await?;
        let around = Around { now, site: self.site, skips: &skips, ahead };
        if let Some(update) = outline::extend(&known.planned, until, around) {
            self.write(update, now, done).await?;
        }
        Ok(())
    }

    async fn write(&mut self, update: PlanUpdate, now: DateTime<Utc>, done: &mut PlanRunReply) -> Result<(), Stop> {
        let active = self.active;
        for skip in &update.skips {
            tracing::warn!(schedule = %update.from.schedule, first = %skip.first, last = %skip.last, count = skip.count, "starts skipped");
        }
        let schedule = update.from.schedule.clone();
        if active.retry(|| active.store().write_plan(&update)).await? {
            outline::count(&update, done);
            let known = Known { look_at: outline::look_at(&update.to, now), planned: update.to };
            self.schedules.insert(schedule, known);
        } else {
            // Another instance has, or this one has and the answer got lost: the rows know.
            tracing::debug!(%schedule, "planned meanwhile");
            self.load().await?;
        }
        Ok(())
    }

    // ---- asking -------------------------------------------------------------------------------------------------------

    async fn submit(&self, now: DateTime<Utc>) -> Result<u64, Stop> {
        let (active, mut count) = (self.active, 0);
        let until = now + GATHER;
        loop {
            let asked = active.retry(|| active.store().submit(until, STARTS, command::group)).await?;
            let taken: u64 = asked.iter().map(|asked| asked.about.len() as u64).sum();
            self.send(asked.iter().map(|asked| command::add(active.bus.names(), asked, now))).await?;
            count += taken;
            if taken < STARTS as u64 {
                return Ok(count);
            }
        }
    }

    async fn ask_again(&mut self, now: DateTime<Utc>) -> Result<(), Stop> {
        let (active, all) = (self.active, self.ask_all);
        let names = active.bus.names();
        let asked = active.retry(|| active.store().submit_again(now, all)).await?;
        self.send(asked.iter().map(|asked| command::add(names, asked, now))).await?;
        let asked = active.retry(|| active.store().recall_again(now, all)).await?;
        self.send(asked.iter().map(|asked| command::back(names, asked, now))).await?;
        let notes = active.retry(|| active.store().note_again(now, all)).await?;
        self.send(notes.iter().map(|note| command::noted(names, note, now))).await?;
        self.ask_all = false;
        Ok(())
    }

    async fn send(&self, messages: impl Iterator<Item = anyhow::Result<Outgoing>>) -> Result<(), Stop> {
        let messages = messages.collect::<anyhow::Result<Vec<_>>>().map_err(|e| Stop::Trouble(e.to_string()))?;
        if messages.is_empty() {
            return Ok(());
        }
        Ok(self.active.bus.publish_all(messages, &self.active.stop).await?)
    }
}
