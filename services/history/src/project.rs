//! The journal into the database: read in order, write a batch and its position in one transaction, acknowledge.
//!
//! The position in the database decides where reading goes on; acknowledgements only tell the bus what it may forget,
//! and what an operator sees as lag.

use crate::active::Active;
use crate::error::Stop;
use ordo_contract::name::StreamKind;
use ordo_journal::{FollowFrom, Message, OrderedDurable};
use ordo_store::{Projection, StoreError, ahead};
use std::time::Duration;
use tokio::time::Instant;

/// Waiting for the next commit; also how often housekeeping gets its turn.
const WAIT: Duration = Duration::from_millis(500);
/// Bytes of commits in one transaction, at most (one commit always fits).
const BATCH_BYTES: usize = 4 * 1024 * 1024;
const PARTITIONS_EVERY: Duration = Duration::from_secs(3600);

pub(crate) async fn project(active: &Active) -> Result<(), Stop> {
    let stream = active.bus.names().stream(StreamKind::Journal);
    let incarnation = active.bus(|| active.bus.incarnation(StreamKind::Journal)).await?;
    let mut projection = active.database(|| active.store.projection(&stream, &incarnation)).await?;
    say_position(active, &projection);
    catch_up(active, &stream, &incarnation, &mut projection).await?;
    let mut reader = OrderedDurable::journal(&active.bus, "history", projection.position().sequence + 1);
    let link = active.bus.link();
    let mut connected_times = link.borrow().times;
    let mut partitions_at = Instant::now();
    loop {
        if Instant::now() >= partitions_at {
            make_partitions(active).await;
            partitions_at = Instant::now() + PARTITIONS_EVERY;
        }
        let times = link.borrow().times;
        if times != connected_times {
            connected_times = times;
            check_incarnation(active, &stream, &incarnation).await?;
        }
        let batch = tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            batch = reader.batch(active.config.batch_commits.max(1) as usize, WAIT) => batch?,
        };
        if !batch.is_empty() {
            write(active, &incarnation, &mut projection, &batch).await?;
        }
        // A lost ack means that the messages come again, and are passed over.
        if let Err(error) = reader.ack().await {
            tracing::debug!(%error, "ack not sent");
        }
    }
}

/// Where the durable was ahead of the database (a restored backup, or commits lost with the server), it gives out
/// nothing of what lies between: read that from the stream.
async fn catch_up(active: &Active, stream: &str, incarnation: &str, projection: &mut Projection) -> Result<(), Stop> {
    let info = active.bus(|| active.bus.stream_info(stream)).await?;
    let position = projection.position().sequence;
    if position > info.last_sequence {
        return Err(Stop::Trouble(format!(
            "{stream} ends at {}, the database is at {position}: the journal lost what the history has; a person must decide",
            info.last_sequence
        )));
    }
    let given_out = active.bus(|| active.bus.consumer_info(stream, "history")).await?.map_or(0, |c| c.delivered);
    if position >= info.last_sequence || given_out <= position {
        return Ok(());
    }
    tracing::info!(position, given_out, last = info.last_sequence, "reading again what was given out before");
    let mut follow = active.bus.follow(FollowFrom::journal(&active.bus, position + 1)).await?;
    while follow.position() <= info.last_sequence {
        let batch = tokio::select! {
            () = active.stop.cancelled() => return Err(Stop::Told),
            batch = follow.batch(active.config.batch_commits.max(1) as usize) => batch?,
        };
        write(active, incarnation, projection, &batch).await?;
    }
    Ok(())
}

/// Writes messages in transactions of bearable size. While the database is away it waits, with the messages in hand.
async fn write(
    active: &Active,
    incarnation: &str,
    projection: &mut Projection,
    messages: &[Message],
) -> Result<(), Stop> {
    let mut rest = messages;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|m| {
            bytes += m.payload().len();
            bytes <= BATCH_BYTES
        });
        let (now, later) = rest.split_at(fitting.count().max(1));
        let batch: Vec<ordo_store::Message<'_>> =
            now.iter().map(|m| ordo_store::Message { sequence: m.sequence, bytes: m.payload() }).collect();
        match projection.write(&batch).await {
            Ok(written) => {
                rest = later;
                tracing::debug!(commits = written.commits, events = written.events, "written");
                say_position(active, projection);
            }
            Err(error) if error.is_passing() => {
                tracing::warn!(error = crate::error::chain(&error), "not written, trying on");
                // The database knows whether the transaction was carried out; what it has is passed over.
                let stream = projection.position().stream.clone();
                *projection = active.database(|| reopened(active, &stream, incarnation)).await?;
                say_position(active, projection);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Opens the projection of a database that works again, not only answers.
async fn reopened(active: &Active, stream: &str, incarnation: &str) -> Result<Projection, StoreError> {
    let rtt = active.store.ping().await?;
    active.status.probed(true, Ok(rtt));
    active.store.projection(stream, incarnation).await
}

fn say_position(active: &Active, projection: &Projection) {
    let position = projection.position();
    active.status.position(position.sequence, position.epoch);
    active.status.trouble(None);
}

async fn check_incarnation(active: &Active, stream: &str, ours: &str) -> Result<(), Stop> {
    let now = active.bus(|| active.bus.incarnation(StreamKind::Journal)).await?;
    if now == ours {
        return Ok(());
    }
    Err(StoreError::IncarnationUnknown { stream: stream.to_owned(), known: ours.to_owned(), found: now }.into())
}

async fn make_partitions(active: &Active) {
    match active.store.create_event_partitions(&ahead(chrono::Utc::now())).await {
        Ok(0) => {}
        Ok(made) => tracing::info!(made, "partitions of events made ahead"),
        Err(error) => tracing::warn!(
            error = crate::error::chain(&error),
            "no partitions made ahead, the default one takes events"
        ),
    }
}
