//! The journal into the rows of the monitor.

use super::board::{Board, Place, names};
use super::definition::{self, Definitions, is_ours};
use super::raise::tell;
use super::watched::MEASURED;
use super::{MONITOR, order};
use crate::Store;
use crate::decode::Decoded;
use crate::error::StoreError;
use crate::projector::Rows;
use crate::transaction::Tx;
use chrono::Utc;
use chrono_tz::Tz;
use futures::future::BoxFuture;
use ordo_contract::request::catalog::DeployedReply;
use ordo_domain::catalog::CatalogDefinition;
use ordo_domain::{ContentHash, Event};
use std::collections::{BTreeMap, BTreeSet};

/// Fetches the body of a definition by its hash; `None`: nobody has it any more.
pub type Bodies = Box<dyn Fn(ContentHash) -> BoxFuture<'static, Result<Option<Vec<u8>>, StoreError>> + Send + Sync>;

/// The projection of the monitor.
pub struct MonitorRows {
    bodies: Bodies,
    /// Of the site.
    zone: Tz,
    /// For the batch that is being written.
    fetched: BTreeMap<ContentHash, CatalogDefinition>,
}

impl MonitorRows {
    pub fn new(bodies: Bodies, zone: Tz) -> Self {
        Self { bodies, zone, fetched: BTreeMap::new() }
    }

    async fn definitions(&self, tx: &mut Tx<'_>, events: &[(Place, &Event)]) -> Result<bool, StoreError> {
        let mut changed = false;
        for (_, event) in events {
            match event {
                Event::DefinitionDeployed(e) if is_ours(e.kind) => {
                    if let Some(body) = self.fetched.get(&e.hash) {
                        definition::deployed(tx, &e.name, e.version, body, self.zone).await?;
                        changed = true;
                    }
                }
                Event::DefinitionRemoved(e) if is_ours(e.kind) => definition::removed(tx, e.kind, &e.name).await?,
                _ => {}
            }
        }
        Ok(changed)
    }
}

impl Rows for MonitorRows {
    const READER: &'static str = MONITOR;
    const CAN_BEGIN: bool = true;

    /// Orders may have ended unseen: what is known of them is what history knows, and of the others what their ids say when they
    /// fail.
    async fn begin(&mut self, tx: &mut Tx<'_>, picture: &DeployedReply) -> Result<(), StoreError> {
        tx.alone().await?;
        for sql in ["DELETE FROM monitor_definitions", "DELETE FROM monitor_orders"] {
            tx.store.sorted("begin anew", tx.tx.execute(sql, &[]).await)?;
        }
        tx.cancel_timers_of("watch/").await?;
        for deployed in picture.definitions.iter().filter(|d| is_ours(d.kind)) {
            if let Some(body) = definition::body(&self.bodies, &deployed.hash).await? {
                definition::deployed(tx, &deployed.name, deployed.version, &body, self.zone).await?;
            }
        }
        let definitions = Definitions::load(tx, self.zone).await?;
        let mut board = Board::new(&definitions.rules);
        order::know_of_history(tx, &mut board).await?;
        order::write(tx, &board.finish()).await
    }

    async fn prepare(&mut self, _: &Store, batch: &[Decoded<'_>]) -> Result<(), StoreError> {
        self.fetched.clear();
        for (_, event) in batch.iter().flat_map(Decoded::events) {
            let Event::DefinitionDeployed(e) = event else { continue };
            if is_ours(e.kind)
                && !self.fetched.contains_key(&e.hash)
                && let Some(body) = definition::body(&self.bodies, &e.hash).await?
            {
                self.fetched.insert(e.hash.clone(), body);
            }
        }
        Ok(())
    }

    /// Rules are those at the end of the batch: that a rule hears of what happened a moment before it was deployed does
    /// no harm, and commits of one batch are as good as simultaneous.
    async fn write(&mut self, tx: &mut Tx<'_>, batch: &[Decoded<'_>]) -> Result<(), StoreError> {
        tx.alone().await?;
        let events: Vec<(Place, &Event)> = batch
            .iter()
            .flat_map(|d| {
                let place = |index| Place { sequence: d.sequence, index, at: d.commit.at };
                d.events().map(move |(index, event)| (place(index), event))
            })
            .collect();
        let rules_changed = self.definitions(tx, &events).await?;
        let definitions = Definitions::load(tx, self.zone).await?;
        let mut board = Board::new(&definitions.rules);
        let (mut orders, mut runs, mut workflows) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (_, event) in &events {
            names(event, &mut orders, &mut runs);
            match event {
                Event::StartSkipped(e) => {
                    workflows.insert(e.workflow.to_string());
                }
                Event::StartNotPlanned(e) => {
                    workflows.insert(e.workflow.to_string());
                }
                _ => {}
            }
        }
        order::load(tx, &mut board, &orders, &runs).await?;
        order::load_controller(tx, &mut board).await?;
        order::load_workflows(tx, &mut board, &workflows).await?;
        if rules_changed {
            for id in order::load_all(tx, &mut board).await? {
                MEASURED.into_iter().for_each(|kind| board.watch(&id, kind));
            }
        }
        for (place, event) in &events {
            board.take(event, *place);
        }
        let telling = std::mem::take(&mut board.telling);
        if board.controller_changed {
            order::write_controller(tx, board.controller.as_ref()).await?;
        }
        order::write(tx, &board.finish()).await?;
        tell(tx, &definitions, telling, Utc::now()).await
    }
}
