//! Events, verbatim.

use super::{Conditions, page};
use crate::connect::Store;
use crate::error::StoreError;
use crate::projection::{signed, unsigned};
use ordo_contract::request::{EventLine, EventListReply, EventListRequest};

impl Store {
    /// Oldest first: those after a sequence, or else the newest. Of an order: with its branches.
    pub async fn events(&self, request: &EventListRequest) -> Result<EventListReply, StoreError> {
        let limit = page(request.limit);
        let mut conditions = Conditions::default();
        if let Some(order) = &request.order {
            conditions.and_within("order_id", order.as_str());
        }
        if let Some(after) = request.after {
            conditions.and("sequence > ?", signed(after));
        }
        let newest = request.after.is_none();
        let direction = if newest { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT sequence, index, at, epoch, event FROM events WHERE {} ORDER BY sequence {direction}, index {direction} LIMIT {}",
            conditions.sql(),
            limit + 1
        );
        let client = self.reader().await?;
        let rows = self.sorted("read events", client.query(&sql, &conditions.values()).await)?;
        let mut events: Vec<EventLine> = rows
            .iter()
            .map(|row| EventLine {
                sequence: unsigned(row.get(0)),
                index: u32::try_from(row.get::<_, i32>(1)).unwrap_or_default(),
                at: row.get(2),
                epoch: unsigned(row.get(3)),
                event: row.get(4),
            })
            .collect();
        let more = events.len() > limit;
        events.truncate(limit);
        if newest {
            events.reverse();
        } else if more {
            // `after` is a sequence: a page ends with a whole commit, unless one commit alone is larger than it.
            let last = events.last().map(|e| e.sequence);
            let cut = events.iter().take_while(|e| Some(e.sequence) != last).count();
            if cut > 0 && rows.get(limit).is_some_and(|row| Some(unsigned(row.get(0))) == last) {
                events.truncate(cut);
            }
        }
        Ok(EventListReply { events, more })
    }
}
