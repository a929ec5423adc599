//! The rows of the daily plan.
//!
//! A start is a row from when it is planned. What it shall be (`wanted`) and what the controller was asked for (`sent`) are
//! two things: the service makes them equal, and the journal alone says that they are. So nothing here is lost or doubled
//! by a crash, by two instances at once, or by rows restored from an older copy: what was asked for is asked again with
//! the same command id until the journal tells the outcome.
//!
//! - `rows`: what the journal says becomes of starts and schedules
//! - `planning`: a schedule's starts, written as far as they are planned
//! - `asking`: what has to be asked of the controller, now or once more
//! - `anew`: where the journal does not reach back to the rows
//! - `read`: answers to `ordo_contract::request::daily_plan`

mod anew;
mod asking;
mod planning;
mod read;
mod rows;

pub use asking::{Asked, DueStart, Note, Outlook, Recall};
pub use planning::{ExistingStart, PlanChange, PlanUpdate, PlannedSchedule, Skip, StartRow, Template};
pub use rows::PlanRows;

use crate::connect::Store;
use crate::error::StoreError;
use deadpool_postgres::Transaction;
use ordo_domain::{ContentHash, order::command::NewOrder};

/// Who writes here waits for who writes here: no two transactions in each other's way.
pub(crate) async fn lock(store: &Store, tx: &Transaction<'_>) -> Result<(), StoreError> {
    crate::transaction::alone(store, tx, <PlanRows as crate::projector::Rows>::READER).await
}

/// Of what is asked of the controller, but for the time: equal where nothing has to change.
pub fn fingerprint(order: &NewOrder) -> i64 {
    let timeless = timeless(order);
    let hash = ContentHash::of(serde_json::to_string(&timeless).unwrap_or_default().as_bytes());
    // 60 bits of it, and never 0.
    i64::from_str_radix(&hash.as_str()[..15], 16).unwrap_or(1).max(1)
}

/// An order without what tells one start of a parameterisation from another.
pub fn timeless(order: &NewOrder) -> NewOrder {
    NewOrder { due_at: None, business_day: None, start: None, ..order.clone() }
}
