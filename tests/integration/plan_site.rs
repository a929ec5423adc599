//! A site with a real controller and proxy, and instances of the daily plan that a test starts, kills and sets back.

use crate::bus_site::Site;
use ordo_cli::{Client, DeployText, deploy_texts, settings::Settings};
use ordo_contract::commit::Commit;
use ordo_contract::name::StreamKind;
use ordo_contract::replica::Replica;
use ordo_contract::request::catalog::{DoneReply, SchedulesRequest};
use ordo_contract::request::daily_plan::{self, PlanLine, PlanRunReply, PlanShowReply, PlanShowRequest};
use ordo_contract::request::proxy;
use ordo_domain::order::command::StartKey;
use ordo_domain::order::event::CancelReason;
use ordo_domain::{DefinitionName, Event, Instant, OrderId};
use ordo_journal::FollowFrom;
use ordo_runtime::{BusSettings, RoleSettings};
use ordo_testkit::{DatabaseRole, TestFolder, TestPostgres, User, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const LIMIT: Duration = Duration::from_secs(60);

/// One step, no agent: its orders end at once.
pub const QUICK: &str =
    "workflow: quick\nparameters: { keep: { type: number, default: 1 } }\nsteps: [{ finish: done }]\n";

pub struct PlanSite {
    ruled: Ruled,
    pub site: Site,
    pub postgres: TestPostgres,
    pub client: Client,
    folder: TestFolder,
}

/// A role or an instance within this process.
pub struct Running {
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Running {
    fn of<E: std::fmt::Debug + Send + 'static>(
        run: impl FnOnce(CancellationToken) -> JoinHandle<Result<(), E>>,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let inner = run(shutdown.clone());
        let abort = inner.abort_handle();
        let task = tokio::spawn(async move {
            let _guard = AbortOnDrop(abort);
            if let Ok(outcome) = inner.await {
                outcome.unwrap();
            }
        });
        Self { task, shutdown }
    }

    /// As kill -9 would: nothing is finished, nothing is given back.
    pub async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A controller and a proxy that rule a site, and a person who talks to them.
pub struct Ruled {
    /// Told to stop before their servers go.
    _roles: [Running; 2],
    pub client: Client,
}

impl Ruled {
    pub async fn start(site: &Site, folder: &TestFolder) -> Self {
        let person = site.config(&User::Person("ops".into()));
        let settings = Settings {
            site: person.site.clone(),
            user: "ops".into(),
            url: person.url.clone(),
            creds: person.creds.clone(),
            ca: None,
            env_file: None,
        };
        let client = Client::open(settings).await.unwrap();
        let controller =
            ordo_controller::Config { role: role(site, folder, &User::Controller, "c1"), ..Default::default() };
        let controller = Running::of(|stop| {
            let (told, ended) = tokio::sync::oneshot::channel();
            // What it runs stays on one thread.
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let _ = told.send(runtime.block_on(ordo_controller::run(controller, stop)));
            });
            tokio::spawn(async move { ended.await.unwrap_or(Ok(())) })
        });
        let proxy = ordo_proxy::Config { role: role(site, folder, &User::Proxy, "p1") };
        let proxy = Running::of(|stop| tokio::spawn(ordo_proxy::run(proxy, stop)));
        Self { _roles: [controller, proxy], client }
    }

    /// Again and again, until the site takes it: it may just be starting.
    pub async fn deploy(&self, file: &str, text: &str) {
        let texts = [DeployText { file: file.into(), text: text.into() }];
        let mut last = String::new();
        wait_until(LIMIT, "a deployment is taken", async || match deploy_texts(&self.client, &texts).await {
            Ok(_) => true,
            Err(error) => {
                last = error.to_string();
                assert!(!last.contains("problem"), "{last}");
                false
            }
        })
        .await;
    }
}

fn role(site: &Site, folder: &TestFolder, user: &User, instance: &str) -> RoleSettings {
    let bus = site.config(user);
    RoleSettings {
        site: "default".into(),
        instance: instance.into(),
        node: "node-a".into(),
        data: folder.join(format!("{}-{instance}", user.name())),
        nats: BusSettings { url: bus.url, creds: bus.creds, ..BusSettings::default() },
    }
}

/// All that the journal of a site says.
pub async fn journal(site: &Site) -> Vec<Commit> {
    let bus = site.bus(&User::Controller).await;
    let last = bus.last_sequence(StreamKind::Journal).await.unwrap();
    let mut follow = bus.follow(FollowFrom::journal(&bus, 1)).await.unwrap();
    let (mut replica, mut commits) = (Replica::default(), Vec::new());
    while follow.position() <= last {
        for message in follow.batch(500).await.unwrap() {
            commits.push(replica.take(message.sequence, message.payload()).unwrap());
        }
    }
    commits
}

/// The orders that each start of a schedule has and that were not taken back.
pub fn orders_of(journal: &[Commit], schedule: &str) -> BTreeMap<StartKey, Vec<OrderId>> {
    let mut orders: BTreeMap<StartKey, Vec<OrderId>> = BTreeMap::new();
    for event in journal.iter().flat_map(|c| &c.decisions).flat_map(|d| &d.events) {
        match event {
            Event::OrderAdded(e) => {
                if let Some(start) = e.start.as_ref().filter(|start| start.schedule == schedule) {
                    orders.entry(start.clone()).or_default().push(e.order.clone());
                }
            }
            Event::OrderCancelled(e) if e.reason == CancelReason::Replanned => {
                orders.values_mut().for_each(|of| of.retain(|order| *order != e.order));
            }
            _ => {}
        }
    }
    orders.retain(|_, of| !of.is_empty());
    orders
}

/// Seconds from one to another that have no order yet.
pub fn missing_seconds(orders: &BTreeMap<StartKey, Vec<OrderId>>, from: Instant, to: Instant) -> Vec<i64> {
    let double: Vec<_> = orders.iter().filter(|(_, of)| of.len() != 1).collect();
    assert!(double.is_empty(), "{double:?}");
    let there: BTreeSet<i64> = orders.keys().map(|start| start.instant.timestamp()).collect();
    (from.timestamp() + 1..=to.timestamp()).filter(|second| !there.contains(second)).collect()
}

impl PlanSite {
    pub async fn new() -> Self {
        Self::with(TestPostgres::start().await).await
    }

    pub async fn with(postgres: TestPostgres) -> Self {
        if std::env::var_os("ORDO_LOG").is_some() {
            ordo_runtime::logging::init("info");
        }
        let (site, folder) = (Site::start().await, TestFolder::new("plan"));
        let ruled = Ruled::start(&site, &folder).await;
        let it = Self { client: ruled.client.clone(), ruled, site, postgres, folder };
        it.deploy("quick.yaml", QUICK).await;
        it
    }

    pub async fn deploy(&self, file: &str, text: &str) {
        self.ruled.deploy(file, text).await;
    }

    pub fn plan(&self, instance: &str) -> Running {
        let config = ordo_daily_plan::Config {
            role: role(&self.site, &self.folder, &User::DailyPlan, instance),
            database: self.postgres.settings(DatabaseRole::DailyPlan),
            ..Default::default()
        };
        Running::of(|stop| tokio::spawn(ordo_daily_plan::run(config, stop)))
    }

    pub async fn schedules(&self, endpoint: &str, schedule: &str) {
        let schedules = vec![DefinitionName::new(schedule).unwrap()];
        let request = SchedulesRequest { schedules, asked: Default::default() };
        let _: DoneReply = self.client.ask("proxy", endpoint, &request).await.unwrap();
    }

    pub async fn suspend(&self, schedule: &str) {
        self.schedules(proxy::SCHEDULE_SUSPEND, schedule).await;
    }

    pub async fn resume(&self, schedule: &str) {
        self.schedules(proxy::SCHEDULE_RESUME, schedule).await;
    }

    pub async fn plan_now(&self) -> PlanRunReply {
        let mut done = None;
        wait_until(LIMIT, "the plan is run", async || {
            done = self.client.ask("daily-plan", daily_plan::PLAN_RUN, &serde_json::json!({})).await.ok();
            done.is_some()
        })
        .await;
        done.unwrap()
    }

    pub async fn show(&self, request: &PlanShowRequest) -> PlanShowReply {
        let mut reply = None;
        wait_until(LIMIT, "the plan is shown", async || {
            reply = self.client.ask("daily-plan", daily_plan::PLAN_SHOW, request).await.ok();
            reply.is_some()
        })
        .await;
        reply.unwrap()
    }

    /// Every row of a schedule, whatever day.
    pub async fn rows(&self, schedule: &str) -> Vec<(Instant, String, Option<String>)> {
        let sql = format!(
            "SELECT instant, state, order_id FROM plan_starts WHERE schedule = '{schedule}' AND state <> 'withdrawn' ORDER BY instant, parameterisation"
        );
        let rows = self.sql(move |client| client.query(&sql, &[])).await;
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
    }

    /// As the owner.
    pub async fn sql<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut postgres::Client) -> Result<T, postgres::Error> + Send + 'static,
    ) -> T {
        let url = self.postgres.url(DatabaseRole::Owner);
        let run = move || work(&mut postgres::Client::connect(&url, postgres::NoTls)?);
        tokio::task::spawn_blocking(run).await.unwrap().unwrap()
    }

    pub async fn journal(&self) -> Vec<Commit> {
        journal(&self.site).await
    }

    pub async fn orders(&self, schedule: &str) -> BTreeMap<StartKey, Vec<OrderId>> {
        orders_of(&self.journal().await, schedule)
    }

    /// Each second from one to another has exactly one order.
    pub async fn assert_each_second_once(&self, schedule: &str, from: Instant, to: Instant) {
        let missing = missing_seconds(&self.orders(schedule).await, from, to);
        assert!(missing.is_empty(), "{} are missing: {missing:?}", missing.len());
    }

    /// The state of every line of today, as people see it.
    pub async fn lines(&self, schedule: &str) -> Vec<PlanLine> {
        let schedule = Some(DefinitionName::new(schedule).unwrap());
        let request = PlanShowRequest { schedule, all: true, limit: Some(1000), ..Default::default() };
        self.show(&request).await.starts
    }
}

/// Each second, with a short horizon.
pub fn ticking(name: &str, more: &str) -> String {
    format!(
        "schedule: {name}\nworkflow: quick\ntimes: [{{ cron: \"* * * * * *\" }}]\nplan_ahead: 20s\nsubmit_ahead: 3s\n{more}\n"
    )
}
