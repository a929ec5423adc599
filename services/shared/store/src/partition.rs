//! The monthly partitions of `events`, made ahead by the service through a function of the owner. What has no month
//! of its own lies in `events_default`: nothing fails for want of a partition.

use crate::connect::Store;
use crate::error::StoreError;
use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use std::collections::BTreeSet;

/// The first day of the month that `at` is in, in UTC.
pub fn month(at: DateTime<Utc>) -> NaiveDate {
    at.date_naive().with_day(1).unwrap_or_default()
}

/// The months to make ahead at `now`: this one and the next three.
pub fn ahead(now: DateTime<Utc>) -> BTreeSet<NaiveDate> {
    (0..4).filter_map(|n| month(now).checked_add_months(Months::new(n))).collect()
}

impl Store {
    /// Makes the partitions of these months where they are missing; returns how many.
    pub async fn create_event_partitions(&self, months: &BTreeSet<NaiveDate>) -> Result<usize, StoreError> {
        let client = self.writer().await?;
        let mut made = 0;
        for month in months {
            let row = client.query_one("SELECT ordo_create_event_partition($1)", &[month]).await;
            made += usize::from(self.sorted("make a partition of events", row)?.get::<_, bool>(0));
        }
        Ok(made)
    }
}
