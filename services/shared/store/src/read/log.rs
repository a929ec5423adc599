//! Logs: what the runs of an order printed, in the order of time, as far as it is here without holes.

use super::{Conditions, checked};
use crate::connect::Store;
use crate::error::StoreError;
use crate::output::unpacked;
use chrono::{DateTime, Utc};
use ordo_contract::request::{LogChunk, LogPosition, LogReadReply, LogReadRequest};
use ordo_domain::{OrderId, RunId};
use std::collections::{BTreeMap, HashMap};

/// Text in one answer.
const TEXT: usize = 256 * 1024;
/// Chunks of one run in one answer.
const CHUNKS: i64 = 64;
/// Runs of one order that are looked at.
const RUNS: usize = 5_000;

struct Run {
    order: String,
    position: String,
    attempt: u32,
    ended: bool,
    lost: bool,
    complete: bool,
    /// Chunks that are stored.
    stored: i64,
}

struct Stored {
    run: String,
    /// Not before any chunk of the run with a lower number: the order of one run never changes.
    sorted_at: DateTime<Utc>,
    chunk: u32,
    channel: String,
    at: DateTime<Utc>,
    omitted: u64,
    text: String,
    hex: Option<String>,
}

impl Store {
    /// What follows `after`; `None` where the order (or that run of it) is not known.
    pub async fn log(&self, request: &LogReadRequest) -> Result<Option<LogReadReply>, StoreError> {
        let Some(state) = self.order_state(&request.order).await? else { return Ok(None) };
        let runs = self.runs(request).await?;
        if request.run.is_some() && runs.is_empty() {
            return Ok(None);
        }
        let after: HashMap<&str, u32> = request.after.iter().map(|p| (p.run.as_str(), p.chunk)).collect();
        let wanted: Vec<(&str, u32)> = runs
            .iter()
            .filter(|(_, run)| run.stored > 0)
            .map(|(id, _)| (id.as_str(), after.get(id.as_str()).copied().unwrap_or_default()))
            .filter(|(id, chunk)| runs.get(*id).is_some_and(|run| i64::from(*chunk) < run.stored || run.lost))
            .collect();
        let (chunks, more) = self.chunks(&runs, &wanted).await?;
        let mut next: BTreeMap<RunId, u32> = request.after.iter().map(|p| (p.run.clone(), p.chunk)).collect();
        for chunk in &chunks {
            next.insert(chunk.run.clone(), chunk.chunk);
        }
        let ended_order = matches!(state.as_str(), "finished" | "cancelled" | "failed") || request.run.is_some();
        let ended = !more && ended_order && runs.values().all(|run| run.ended && (run.complete || run.lost));
        let next = next.into_iter().map(|(run, chunk)| LogPosition { run, chunk }).collect();
        Ok(Some(LogReadReply { chunks, next, more, ended }))
    }

    async fn order_state(&self, order: &OrderId) -> Result<Option<String>, StoreError> {
        let client = self.reader().await?;
        let sql = "SELECT state FROM orders WHERE order_id = $1";
        let row = self.sorted("read the order's state", client.query_opt(sql, &[&order.as_str()]).await)?;
        Ok(row.map(|row| row.get(0)))
    }

    async fn runs(&self, request: &LogReadRequest) -> Result<BTreeMap<String, Run>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.and_within("s.order_id", request.order.as_str());
        if let Some(run) = &request.run {
            conditions.and("s.run_id = ?", run.to_string());
        }
        let sql = format!(
            "SELECT s.run_id, s.order_id, s.position, s.attempt, s.ended_at IS NOT NULL, s.state = 'lost', \
             coalesce(s.output_chunks = 0, false) OR coalesce(l.complete, false), coalesce(l.stored_chunks, 0) \
             FROM steps s LEFT JOIN logs l ON l.run_id = s.run_id WHERE {} ORDER BY s.number LIMIT {RUNS}",
            conditions.sql()
        );
        let client = self.reader().await?;
        let rows = self.sorted("read the order's runs", client.query(&sql, &conditions.values()).await)?;
        let run = |row: &tokio_postgres::Row| Run {
            order: row.get(1),
            position: row.get(2),
            attempt: u32::try_from(row.get::<_, i32>(3)).unwrap_or_default(),
            ended: row.get(4),
            lost: row.get(5),
            complete: row.get(6),
            stored: row.get(7),
        };
        Ok(rows.iter().map(|row| (row.get(0), run(row))).collect())
    }

    /// The next chunks of these runs, merged by time, and whether there are more.
    async fn chunks(
        &self,
        runs: &BTreeMap<String, Run>,
        wanted: &[(&str, u32)],
    ) -> Result<(Vec<LogChunk>, bool), StoreError> {
        if wanted.is_empty() {
            return Ok((Vec::new(), false));
        }
        let sql = "SELECT c.run_id, c.chunk, c.channel, c.at, c.omitted, c.size, c.compressed, c.kept, c.body \
            FROM unnest($1::text[], $2::int[]) AS a (run_id, after) CROSS JOIN LATERAL ( \
            SELECT * FROM log_chunks c WHERE c.run_id = a.run_id AND c.chunk > a.after ORDER BY c.chunk LIMIT $3) c \
            ORDER BY c.run_id, c.chunk";
        // Many runs: fewer of each, so that one answer stays within some megabytes.
        let each = (CHUNKS * 8 / i64::try_from(wanted.len()).unwrap_or(i64::MAX)).clamp(1, CHUNKS);
        let ids: Vec<&str> = wanted.iter().map(|w| w.0).collect();
        let after: Vec<i32> = wanted.iter().map(|w| i32::try_from(w.1).unwrap_or(i32::MAX)).collect();
        let client = self.reader().await?;
        let rows = self.sorted("read logs", client.query(sql, &[&ids, &after, &each]).await)?;
        drop(client);
        let mut by_run: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
        for row in &rows {
            let run: String = row.get(0);
            let chunk = stored(row, by_run.get(&run).and_then(|c| c.last()).map(|c| c.sorted_at));
            by_run.entry(run).or_default().push(chunk);
        }
        // A run that may have more than we read: nothing later than its last chunk may go before that.
        let mut horizon: Option<DateTime<Utc>> = None;
        for (run, after) in wanted {
            let Some(chunks) = by_run.get_mut(*run) else { continue };
            let full = i64::try_from(chunks.len()).unwrap_or(i64::MAX) >= each;
            if !runs.get(*run).is_some_and(|r| r.lost && r.ended) {
                let whole = chunks.iter().zip(after + 1..).take_while(|(c, n)| c.chunk == *n).count();
                chunks.truncate(whole);
            }
            if let (true, Some(last)) = (full, chunks.last()) {
                horizon = Some(horizon.map_or(last.sorted_at, |h| h.min(last.sorted_at)));
            }
        }
        let mut merged: Vec<Stored> = by_run.into_values().flatten().collect();
        merged.sort_by(|a, b| (a.sorted_at, &a.run, a.chunk).cmp(&(b.sorted_at, &b.run, b.chunk)));
        let all = merged.len();
        if let Some(horizon) = horizon {
            merged.retain(|c| c.sorted_at <= horizon);
        }
        let mut size = 0;
        let fitting = merged.iter().take_while(|c| {
            size += c.text.len() + c.hex.as_ref().map_or(0, String::len) + 200;
            size <= TEXT
        });
        let keep = fitting.count().max(1).min(merged.len());
        merged.truncate(keep);
        let more = keep < all || horizon.is_some();
        let chunks = merged.into_iter().map(|c| shown(runs, c)).collect::<Result<Vec<_>, _>>()?;
        Ok((chunks, more))
    }
}

fn stored(row: &tokio_postgres::Row, before: Option<DateTime<Utc>>) -> Stored {
    let at: DateTime<Utc> = row.get(3);
    let (size, compressed, kept): (i32, bool, bool) = (row.get(5), row.get(6), row.get(7));
    let dropped = if kept { 0 } else { u64::try_from(size).unwrap_or_default() };
    let (text, hex) = LogChunk::show(&unpacked(row.get(8), compressed));
    Stored {
        run: row.get(0),
        sorted_at: before.map_or(at, |before| before.max(at)),
        chunk: u32::try_from(row.get::<_, i32>(1)).unwrap_or_default(),
        channel: row.get(2),
        at,
        omitted: u64::try_from(row.get::<_, i64>(4)).unwrap_or_default() + dropped,
        text,
        hex,
    }
}

fn shown(runs: &BTreeMap<String, Run>, chunk: Stored) -> Result<LogChunk, StoreError> {
    let run = runs.get(&chunk.run);
    Ok(LogChunk {
        run: checked(RunId::new(&chunk.run))?,
        order: checked(OrderId::new(run.map_or("unknown", |r| r.order.as_str())))?,
        position: run.map(|r| r.position.clone()).unwrap_or_default(),
        attempt: run.map(|r| r.attempt).unwrap_or_default(),
        chunk: chunk.chunk,
        channel: chunk.channel,
        at: chunk.at,
        text: chunk.text,
        hex: chunk.hex,
        omitted_bytes: chunk.omitted,
    })
}
