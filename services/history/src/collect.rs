//! Output of runs into the database. Chunks may come twice and in any order; each is acknowledged when it is stored.

use crate::config::Config;
use chrono::{DateTime, Utc};
use ordo_contract::name::StreamKind;
use ordo_contract::output;
use ordo_domain::RunId;
use ordo_journal::{Ack, Durable, FollowFrom, Message};
use ordo_service::{Active, Stop};
use ordo_store::{Chunk, Position};
use std::time::Duration;

const BATCH: usize = 256;
const WAIT: Duration = Duration::from_millis(500);
/// Chunks of a run that the journal does not know, although all of it is in the database, are given up after this many
/// tries. Agents keep their files: nothing is lost if it was too early.
const TRIES: u64 = 20;

pub(crate) async fn collect(active: &Active, config: &Config) -> Result<(), Stop> {
    let stream = active.bus.names().stream(StreamKind::Output);
    let incarnation = active.retry(|| active.bus.incarnation(StreamKind::Output)).await?;
    let position = active.retry(|| active.store().open_loose_position("history", &stream, &incarnation)).await?;
    read_again(active, config, &stream, &position).await?;
    let mut durable = Durable::open(&active.bus, &stream, "history-output");
    loop {
        let batch = tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            batch = durable.batch(BATCH, WAIT) => batch?,
        };
        if batch.is_empty() {
            continue;
        }
        let verdicts = store(active, config, &position, &batch).await?;
        for (message, ack) in batch.iter().zip(verdicts) {
            if let Err(error) = active.bus.ack(message, ack).await {
                tracing::debug!(%error, "ack not sent");
            }
        }
    }
}

/// What was acknowledged and is not in the database (a restored backup) is read from the stream, as far as it is there.
async fn read_again(active: &Active, config: &Config, stream: &str, position: &Position) -> Result<(), Stop> {
    let floor = active.retry(|| active.bus.consumer_info(stream, "history-output")).await?.map_or(0, |c| c.ack_floor);
    let info = active.retry(|| active.bus.stream_info(stream)).await?;
    let last = floor.min(info.last_sequence);
    if position.sequence >= last || info.messages == 0 || info.first_sequence > last {
        return Ok(());
    }
    tracing::info!(
        position = position.sequence,
        acknowledged = floor,
        "reading output again that was acknowledged before"
    );
    let from = FollowFrom::filtered(
        stream.to_owned(),
        active.bus.names().outputs(),
        (position.sequence + 1).max(info.first_sequence),
    );
    let mut follow = active.bus.follow(from).await?;
    while follow.position() <= last {
        // The last messages may be gone from the stream meanwhile: then nothing comes any more.
        let batch = tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            batch = tokio::time::timeout(Duration::from_secs(5), follow.batch(BATCH)) => batch,
        };
        let Ok(batch) = batch else { return Ok(()) };
        store(active, config, position, &batch?).await?;
    }
    Ok(())
}

/// Stores a batch, however long the database is away, and says what becomes of each message.
async fn store(active: &Active, config: &Config, position: &Position, batch: &[Message]) -> Result<Vec<Ack>, Stop> {
    let chunks: Vec<Option<Chunk>> = batch.iter().map(|message| chunk(active, message)).collect();
    let readable: Vec<Chunk> = chunks.iter().flatten().cloned().collect();
    let last = batch.iter().map(|m| m.sequence).max().unwrap_or_default();
    let limit = config.log_limit_bytes;
    let stored = active.retry(|| active.store().store_output(&readable, limit, Some((position, last)))).await?;
    if stored.dropped > 0 {
        tracing::warn!(chunks = stored.dropped, limit, "output over the limit of history, not kept");
    }
    for (run, agent) in &stored.foreign {
        tracing::warn!(run_id = %run, agent, "output of a run that was not given to this agent, refused");
    }
    let caught_up = active.status.is_caught_up();
    let verdict = |(message, chunk): (&Message, &Option<Chunk>)| match chunk {
        None => Ack::Never,
        Some(chunk) if stored.unknown.contains(&chunk.run) => {
            if message.delivered > TRIES && caught_up {
                tracing::warn!(run_id = %chunk.run, agent = chunk.agent, "output of a run that nobody started, given up");
                Ack::Never
            } else {
                // Its dispatch is on the way through the journal.
                Ack::Again(Duration::from_millis((25 * message.delivered).clamp(25, 2_000)))
            }
        }
        Some(_) => Ack::Done,
    };
    Ok(batch.iter().zip(&chunks).map(verdict).collect())
}

/// Reads a chunk from its headers; what cannot be read is said and passed over.
fn chunk(active: &Active, message: &Message) -> Option<Chunk> {
    let read = || -> Result<Chunk, String> {
        let header = |name: &str| message.header(name).ok_or_else(|| format!("header {name} is missing"));
        let number: u32 = header(output::CHUNK)?.parse().map_err(|_| format!("{} is no number", output::CHUNK))?;
        if number == 0 || i32::try_from(number).is_err() {
            return Err(format!("{} is {number}, wanted from 1", output::CHUNK));
        }
        if message.payload().len() > 2 * output::CHUNK_BYTES {
            return Err(format!(
                "{} bytes in one chunk, the limit is {}",
                message.payload().len(),
                output::CHUNK_BYTES
            ));
        }
        let prefix = format!("ordo.{}.output.", active.bus.names().site());
        let agent = message.subject().strip_prefix(&prefix).and_then(|rest| rest.split('.').next()).unwrap_or_default();
        let stored_at = DateTime::<Utc>::from_timestamp(
            message.stored_at.as_secs().cast_signed(),
            message.stored_at.subsec_nanos(),
        );
        let at = message
            .header(output::AT)
            .and_then(|at| DateTime::parse_from_rfc3339(at).ok())
            .map(|at| at.with_timezone(&Utc));
        Ok(Chunk {
            run: RunId::new(header(output::RUN)?).map_err(|e| e.to_string())?,
            agent: agent.to_owned(),
            number,
            channel: message.header(output::CHANNEL).unwrap_or("stdout").to_owned(),
            at: at.or(stored_at).unwrap_or_else(Utc::now),
            omitted: message.header(output::OMITTED).and_then(|n| n.parse().ok()).unwrap_or_default(),
            bytes: message.payload().to_vec(),
        })
    };
    read()
        .inspect_err(|reason| {
            tracing::warn!(stream_seq = message.sequence, reason, "a message of output cannot be read, passed over")
        })
        .ok()
}
