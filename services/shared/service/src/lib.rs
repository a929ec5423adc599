//! The shell of a service that is active once and may run as often as one likes: the process around its work, and the
//! mechanisms that every such service needs, each once. It knows no rule of any service, and must never decide.
//!
//! ```no_run
//! use ordo_service::{Active, Instance, LeasedService, OutboxPolicy, Stop, answer, outbox, project, timers};
//! # use bytes::Bytes;
//! # use ordo_journal::{Call, CallError};
//! # use ordo_runtime::{CancellationToken, DatabaseSettings, RoleSettings};
//! # use ordo_store::{Decoded, Fire, Rows, StoreError, Timer, Tx};
//! # struct NightRows; struct NightTimers; struct Night;
//! # impl Rows for NightRows {
//! #     const READER: &'static str = "night";
//! #     async fn write(&mut self, _: &mut Tx<'_>, _: &[Decoded<'_>]) -> Result<(), StoreError> { Ok(()) }
//! # }
//! # impl Fire for NightTimers {
//! #     async fn fire(&mut self, _: &mut Tx<'_>, _: &[Timer]) -> Result<(), StoreError> { Ok(()) }
//! # }
//!
//! impl LeasedService for Night {
//!     const ROLE: &'static str = "night"; // user on the bus, durable, lease, `reader` and `service` in the database
//!
//!     fn description(&self, site: &str) -> String {
//!         format!("Watches over the night of site {site}")
//!     }
//!
//!     fn endpoints(&self) -> Vec<(&'static str, &'static str)> {
//!         vec![("owl", "list")] // answered by every instance; `active_endpoints` by the active one, whoever is asked
//!     }
//!
//!     async fn answer(&self, here: &Instance, call: &Call) -> Result<Bytes, CallError> {
//!         match (call.noun.as_str(), call.verb.as_str()) {
//!             ("owl", "list") => answer::encode(&here.store().outbox_figures("night").await.map_err(answer::failed)?.waiting),
//!             _ => Err(answer::not_served(call)),
//!         }
//!     }
//!
//!     async fn work(&self, active: &Active) -> Result<(), Stop> {
//!         active.together(vec![
//!             // Rows of the store: `write(tx, batch)`, with `tx.enqueue(…)`, `tx.set_timers(…)` in the same transaction.
//!             Box::pin(project::run(active, NightRows, 200)),
//!             // Effects that were enqueued: until each worked, or was given up.
//!             Box::pin(outbox::run(active, OutboxPolicy::default(), |effect| async move {
//!                 println!("{} {}", effect.key, effect.body);
//!                 Ok(())
//!             })),
//!             // Timers that are due, in the transaction that takes them away.
//!             Box::pin(timers::run(active, NightTimers)),
//!         ]).await
//!     }
//! }
//!
//! # async fn start(role: RoleSettings, database: DatabaseSettings, shutdown: CancellationToken) -> anyhow::Result<()> {
//! ordo_service::run(Night, role, Some(database), shutdown).await
//! # }
//! ```
//!
//! # Layout
//! - [`LeasedService`], [`run`]: what a service is, and its process: connections, lease, heartbeat, when it is active
//! - [`Instance`], [`Active`]: what it works with; [`Status`]: what it says of itself; [`Wakes`]: who wakes whom
//! - [`Stop`]: why it stops being active; [`BackOff`], [`Active::retry`]: what waiting heals
//! - [`answer`]: bodies and errors of requests; `route`: who answers, `service.run` and `service.restart`
//! - [`project`]: the journal into rows; [`outbox`]: effects; [`timers`]

pub mod answer;
pub mod outbox;
pub mod project;
pub mod timers;

mod active;
mod lease;
mod process;
mod retry;
mod route;
mod status;
mod stop;
mod wake;

pub use active::{Active, Instance, Part};
pub use outbox::{Failed, OutboxPolicy};
pub use process::run;
pub use retry::{BackOff, Passing, Pause};
pub use status::{Status, To};
pub use stop::{Stop, chain};
pub use wake::Wakes;

use bytes::Bytes;
use ordo_journal::{Call, CallError};
use tokio_util::sync::CancellationToken;

/// A service of which one instance at a time is active, by lease.
pub trait LeasedService: Send + Sync + 'static {
    /// As in subjects: its user on the bus, its lease, its durable on the journal, its name in the database.
    const ROLE: &'static str;

    /// For people who look at `nats micro ls`.
    fn description(&self, site: &str) -> String;

    /// Noun and verb of what every instance answers, whoever is active.
    fn endpoints(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// Noun and verb of what only the active instance answers: the others pass it on.
    fn active_endpoints(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// Those of its endpoints that agents may ask, who have no business with services else.
    fn agent_endpoints(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Whether "run now" makes it do something that it does not do all the time.
    const RUNS: bool = false;

    /// Noun and verb of what one instance is asked, beside `service.run`, `service.restart` and `instance.ping`.
    fn instance_endpoints(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// Answers a request; `call.user` is who asked, also when another instance passed it on.
    fn answer(&self, here: &Instance, call: &Call) -> impl Future<Output = Result<Bytes, CallError>> + Send {
        let _ = here;
        route::nothing(call)
    }

    /// What every instance does beside, active or not: from when it is connected until it ends. It must not end the process,
    /// and is dropped when it does not end soon after `stop`.
    fn beside(&self, here: &Instance, stop: &CancellationToken) -> impl Future<Output = ()> + Send {
        let _ = (here, stop);
        std::future::ready(())
    }

    /// What it does while this instance holds the lease, until `active.stop`. Then it ends soon: what is under way may
    /// end, nothing new begins, and what takes longer than a few seconds is dropped where it is.
    ///
    /// # Errors
    /// Why it cannot go on. [`Stop::Told`], or `Ok` after `active.stop`, is the usual end.
    fn work(&self, active: &Active) -> impl Future<Output = Result<(), Stop>> + Send;
}
