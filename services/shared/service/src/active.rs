//! What a service works with: the instance that every request is answered from, and the active part of it.

use crate::status::Status;
use crate::stop::Stop;
use crate::wake::Wakes;
use futures::future::{BoxFuture, FutureExt, join_all};
use ordo_contract::lease::LeaseValue;
use ordo_contract::name::StreamKind;
use ordo_domain::InstanceId;
use ordo_journal::Bus;
use ordo_runtime::RoleSettings;
use ordo_store::Store;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

type Holder = watch::Receiver<Option<LeaseValue>>;

/// One process of the role. Cheap to clone.
#[derive(Clone)]
pub struct Instance {
    /// As in subjects; also its bus user, its durable, its `reader` and `service` in the database.
    pub role: &'static str,
    /// Site, instance, node and data folder, resolved.
    pub settings: Arc<RoleSettings>,
    pub bus: Bus,
    /// What it says of itself.
    pub status: Status,
    /// Who wakes whom.
    pub wakes: Wakes,
    pub(crate) store: Option<Store>,
    holder: Arc<Mutex<Option<Holder>>>,
}

impl Instance {
    pub(crate) fn new(
        role: &'static str,
        settings: RoleSettings,
        bus: Bus,
        status: Status,
        store: Option<Store>,
    ) -> Self {
        let (settings, wakes) = (Arc::new(settings), Wakes::default());
        Self { role, settings, bus, status, wakes, store, holder: Arc::default() }
    }

    /// The database.
    ///
    /// # Panics
    /// Of a service that was run without one: a mistake that its first test sees.
    pub fn store(&self) -> &Store {
        match &self.store {
            Some(store) => store,
            None => panic!("{} runs without a database", self.role),
        }
    }

    pub(crate) fn follow_holder(&self, seen: Holder) {
        *self.holder.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    /// Who holds the role, as far as this instance has seen.
    pub fn holder(&self) -> Option<InstanceId> {
        let holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let value = holder.as_ref()?.borrow().clone();
        match value? {
            LeaseValue::Active { active, to, .. } => Some(to.unwrap_or(active)),
            LeaseValue::Held { .. } => None,
        }
    }

    /// This instance holds the lease and works.
    pub fn is_active(&self) -> bool {
        self.status.is_active()
    }
}

/// The active part, while this instance holds the lease.
#[derive(Clone)]
pub struct Active {
    pub instance: Instance,
    /// Cancelled when it has to end: soon, with what is under way, and nothing new.
    pub stop: CancellationToken,
}

/// One of the things that a service does side by side while it is active.
pub type Part<'a> = BoxFuture<'a, Result<(), Stop>>;

impl Active {
    /// Waits until the rows hold the journal up to its end of this moment: before that they say what may be over.
    ///
    /// # Errors
    /// Told to stop, or what no waiting heals.
    pub async fn caught_up(&self) -> Result<(), Stop> {
        let end = self.retry(|| self.bus.last_sequence(StreamKind::Journal)).await?;
        let mut written = self.wakes.written();
        tokio::select! {
            () = self.stop.cancelled() => Err(Stop::Told),
            seen = written.wait_for(|sequence| *sequence >= end) => seen.map(|_| ()).map_err(|_| Stop::Told),
        }
    }

    /// Does all of it. When one part ends, the others are told to stop and may end in order; why it ended is the outcome.
    ///
    /// # Errors
    /// Of the part that ended first.
    pub async fn together(&self, parts: Vec<Part<'_>>) -> Result<(), Stop> {
        let first: Mutex<Option<Result<(), Stop>>> = Mutex::default();
        let ending = parts.into_iter().map(|part| {
            part.map(|outcome| {
                first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(outcome);
                self.stop.cancel();
            })
        });
        join_all(ending).await;
        first.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or(Ok(()))
    }
}

impl Deref for Active {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}
