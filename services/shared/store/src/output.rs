//! What runs printed: chunks by (run, number), which may come twice, in any order, before or after the run's own row.
//!
//! `logs` counts what is stored; the end of the run, written by the journal's projection, says what there must be. Both
//! writers change the same row, so that whoever comes second sees the other: `complete` is computed from it.

use crate::connect::Store;
use crate::error::StoreError;
use crate::history::order::column;
use crate::projection::{Position, signed};
use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use ordo_contract::output::StoredRun;
use ordo_domain::RunId;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A chunk as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub run: RunId,
    /// Who sent it: only the agent that the run was given to is believed.
    pub agent: String,
    /// From 1.
    pub number: u32,
    /// `stdout` or `stderr`.
    pub channel: String,
    pub at: DateTime<Utc>,
    /// Left out by the agent before this chunk.
    pub omitted: u64,
    pub bytes: Vec<u8>,
}

/// What became of chunks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredChunks {
    /// Were not there before.
    pub new: u64,
    /// Counted but not kept, for the limit per run.
    pub dropped: u64,
    /// Not stored: no such run is here (yet).
    pub unknown: BTreeSet<RunId>,
    /// Not stored: these runs are another agent's.
    pub foreign: BTreeSet<(RunId, String)>,
}

/// Below this, zstd's frame costs more than it saves.
const SMALL: usize = 96;
/// A chunk is at most this long on the bus; what a compressed body claims beyond it is refused.
const LONGEST: usize = 1024 * 1024;

struct Row<'a> {
    chunk: &'a Chunk,
    lines: i32,
    compressed: bool,
    kept: bool,
    body: Vec<u8>,
}

fn row(chunk: &Chunk, kept: bool) -> Row<'_> {
    let lines = chunk.bytes.iter().filter(|b| **b == b'\n').count();
    let packed = (kept && chunk.bytes.len() > SMALL).then(|| zstd::bulk::compress(&chunk.bytes, 3).ok()).flatten();
    let packed = packed.filter(|p| p.len() < chunk.bytes.len());
    let compressed = packed.is_some();
    let body = packed.unwrap_or_else(|| if kept { chunk.bytes.clone() } else { Vec::new() });
    Row { chunk, lines: i32::try_from(lines).unwrap_or(i32::MAX), compressed, kept, body }
}

/// The bytes of a stored chunk as they were printed.
pub(crate) fn unpacked(body: &[u8], compressed: bool) -> Vec<u8> {
    if !compressed {
        return body.to_vec();
    }
    zstd::bulk::decompress(body, LONGEST).unwrap_or_else(|_| b"(chunk damaged)\n".to_vec())
}

impl Store {
    /// Stores chunks and moves the position of the output stream to `moved`, where given. Repeats are passed over. Of a
    /// run whose log reached `limit` bytes, chunks are counted and not kept.
    pub async fn store_output(
        &self,
        chunks: &[Chunk],
        limit: u64,
        moved: Option<(&Position, u64)>,
    ) -> Result<StoredChunks, StoreError> {
        // One row may be changed once per statement; the first of equals wins. Sorted: locks are taken in one order.
        let mut unique: BTreeMap<(&RunId, u32), &Chunk> = BTreeMap::new();
        for chunk in chunks {
            unique.entry((&chunk.run, chunk.number)).or_insert(chunk);
        }
        let mut client = self.writer().await?;
        let tx = self.sorted("begin a transaction", client.transaction().await)?;
        if let Some((position, sequence)) = moved {
            self.note_output(&tx, position, sequence).await?;
        }
        let mut stored = StoredChunks::default();
        let known = self.known_runs(&tx, unique.values().map(|c| &c.run)).await?;
        let mut used: HashMap<&RunId, u64> = HashMap::new();
        let mut rows = Vec::with_capacity(unique.len());
        for chunk in unique.into_values() {
            match known.get(chunk.run.as_str()) {
                None => drop(stored.unknown.insert(chunk.run.clone())),
                Some((agent, _)) if *agent != chunk.agent => {
                    stored.foreign.insert((chunk.run.clone(), chunk.agent.clone()));
                }
                Some((_, size)) => {
                    let used = used.entry(&chunk.run).or_insert(*size);
                    *used += chunk.bytes.len() as u64;
                    rows.push(row(chunk, *used <= limit));
                }
            }
        }
        if !rows.is_empty() {
            (stored.new, stored.dropped) = self.insert_chunks(&tx, &rows).await?;
        }
        self.sorted("commit a transaction", tx.commit().await)?;
        Ok(stored)
    }

    /// The position of output only says from where to read again: it moves ahead for whoever wrote last.
    async fn note_output(&self, tx: &Transaction<'_>, position: &Position, sequence: u64) -> Result<(), StoreError> {
        let sql = "UPDATE projections SET sequence = greatest(sequence, $3), moved_at = now() \
                   WHERE reader = $1 AND stream = $2 AND incarnation = $4";
        let statement = self.sorted("prepare the move of the position", tx.prepare_cached(sql).await)?;
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&position.reader, &position.stream, &signed(sequence), &position.incarnation];
        let moved = tx.execute(&statement, &values).await;
        if self.sorted("move the position", moved)? == 1 {
            return Ok(());
        }
        Err(StoreError::Fenced { stream: position.stream.clone(), ours: position.sequence, theirs: 0 })
    }

    /// The agent of each run, and the bytes that are stored of it.
    async fn known_runs<'a>(
        &self,
        tx: &Transaction<'_>,
        runs: impl Iterator<Item = &'a RunId>,
    ) -> Result<HashMap<String, (String, u64)>, StoreError> {
        let mut runs: Vec<&str> = runs.map(RunId::as_str).collect();
        runs.dedup();
        if runs.is_empty() {
            return Ok(HashMap::new());
        }
        let sql = "SELECT s.run_id, s.agent, coalesce(l.stored_bytes, 0) FROM steps s LEFT JOIN logs l ON l.run_id = s.run_id \
                   WHERE s.run_id = ANY($1)";
        let statement = self.sorted("prepare reading whose output it is", tx.prepare_cached(sql).await)?;
        let rows = self.sorted("read whose output it is", tx.query(&statement, &[&runs]).await)?;
        let known = |row: &tokio_postgres::Row| {
            (row.get(0), (row.get(1), u64::try_from(row.get::<_, i64>(2)).unwrap_or_default()))
        };
        Ok(rows.iter().map(known).collect())
    }

    async fn insert_chunks(&self, tx: &Transaction<'_>, rows: &[Row<'_>]) -> Result<(u64, u64), StoreError> {
        let sql = "WITH fresh AS ( \
            INSERT INTO log_chunks (run_id, chunk, at, size, lines, omitted, channel, compressed, kept, body) \
            SELECT * FROM unnest($1::text[], $2::int[], $3::timestamptz[], $4::int[], $5::int[], $6::bigint[], $7::text[], \
            $8::boolean[], $9::boolean[], $10::bytea[]) ON CONFLICT DO NOTHING \
            RETURNING run_id, size, lines, kept, length(body) AS packed \
            ), sums AS ( \
            SELECT run_id, count(*) AS chunks, sum(size) AS bytes, sum(lines) AS lines, sum(packed) AS packed, \
            coalesce(sum(size) FILTER (WHERE NOT kept), 0) AS dropped FROM fresh GROUP BY run_id ORDER BY run_id COLLATE \"C\" \
            ), counted AS ( \
            INSERT INTO logs (run_id, stored_chunks, stored_bytes, stored_lines, compressed, dropped_bytes) \
            SELECT run_id, chunks, bytes, lines, packed, dropped FROM sums \
            ON CONFLICT (run_id) DO UPDATE SET stored_chunks = logs.stored_chunks + excluded.stored_chunks, \
            stored_bytes = logs.stored_bytes + excluded.stored_bytes, stored_lines = logs.stored_lines + excluded.stored_lines, \
            compressed = logs.compressed + excluded.compressed, dropped_bytes = logs.dropped_bytes + excluded.dropped_bytes \
            ) SELECT count(*), count(*) FILTER (WHERE NOT kept) FROM fresh";
        let statement = self.sorted("prepare storing output", tx.prepare_cached(sql).await)?;
        let row = tx
            .query_one(
                &statement,
                &[
                    &column!(rows, |r| r.chunk.run.as_str()),
                    &column!(rows, |r| i32::try_from(r.chunk.number).unwrap_or(i32::MAX)),
                    &column!(rows, |r| r.chunk.at),
                    &column!(rows, |r| i32::try_from(r.chunk.bytes.len()).unwrap_or(i32::MAX)),
                    &column!(rows, |r| r.lines),
                    &column!(rows, |r| i64::try_from(r.chunk.omitted).unwrap_or(i64::MAX)),
                    &column!(rows, |r| if r.chunk.channel == "stderr" { "stderr" } else { "stdout" }),
                    &column!(rows, |r| r.compressed),
                    &column!(rows, |r| r.kept),
                    &column!(rows, |r| r.body.as_slice()),
                ],
            )
            .await;
        let row = self.sorted("store output", row)?;
        let count = |i| u64::try_from(row.get::<_, i64>(i)).unwrap_or_default();
        Ok((count(0), count(1)))
    }

    /// Which chunks of these runs are stored. `complete`: the end of the run is here and its log matches; of a lost run,
    /// whose true amount nobody knows, only that its end is here.
    pub async fn stored_output(&self, runs: &[RunId]) -> Result<Vec<StoredRun>, StoreError> {
        let client = self.reader().await?;
        let ids = column!(runs, |run| run.as_str());
        let sql = "SELECT r.run_id, coalesce(l.stored_chunks, 0), \
            s.ended_at IS NOT NULL AND (s.state = 'lost' OR s.output_chunks = 0 OR coalesce(l.complete, false)), coalesce(l.complete, false) \
            FROM unnest($1::text[]) AS r (run_id) LEFT JOIN steps s ON s.run_id = r.run_id LEFT JOIN logs l ON l.run_id = r.run_id";
        let rows = self.sorted("ask what output is stored", client.query(sql, &[&ids]).await)?;
        let mut found: HashMap<String, StoredRun> = HashMap::new();
        let mut partly = Vec::new();
        for row in rows {
            let (id, chunks): (String, i64) = (row.get(0), row.get(1));
            let (complete, whole): (Option<bool>, bool) = (row.get(2), row.get(3));
            let Ok(run) = RunId::new(&id) else { continue };
            let through = if whole { u32::try_from(chunks).unwrap_or(u32::MAX) } else { 0 };
            if chunks > 0 && !whole {
                partly.push(id.clone());
            }
            found.insert(id, StoredRun { run, through, also: Vec::new(), complete: complete.unwrap_or_default() });
        }
        if !partly.is_empty() {
            let sql = "SELECT run_id, chunk FROM log_chunks WHERE run_id = ANY($1) ORDER BY run_id, chunk";
            for row in self.sorted("ask which chunks are stored", client.query(sql, &[&partly]).await)? {
                let chunk = u32::try_from(row.get::<_, i32>(1)).unwrap_or_default();
                if let Some(run) = found.get_mut(row.get::<_, &str>(0)) {
                    if chunk == run.through + 1 {
                        run.through = chunk;
                    } else {
                        run.also.push(chunk);
                    }
                }
            }
        }
        Ok(runs.iter().filter_map(|run| found.get(run.as_str()).cloned()).collect())
    }
}
