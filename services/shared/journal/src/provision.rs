//! Creates what `ordo_contract::bus_config` describes. The only place that turns it into the library's terms, and the
//! only user of the rights to administer streams. Can be repeated at any time: what is there is brought up to date, and
//! nothing is ever deleted.

use crate::bus::Bus;
use crate::error::{BusError, BusErrorKind};
use crate::follow::nonce;
use crate::stream::INCARNATION;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull, push};
use async_nats::jetstream::stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType};
use ordo_contract::bus_config::{Ack, ConsumerSpec, Discard, Limits, Retention, StreamSpec, all_streams};
use ordo_contract::name::StreamKind;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// What [`provision`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provisioned {
    pub created: Vec<String>,
    pub updated: Vec<String>,
    pub unchanged: usize,
}

/// Creates or updates every stream, bucket, object store and service consumer of the bus's site.
pub async fn provision(bus: &Bus, limits: &Limits) -> Result<Provisioned, BusError> {
    let mut done = Provisioned::default();
    for spec in all_streams(bus.names(), limits) {
        ensure_stream(bus, &spec, &mut done).await?;
    }
    for (kind, spec) in bus.names().service_consumers() {
        ensure_consumer(bus, &bus.names().stream(kind), &spec, &mut done).await?;
    }
    Ok(done)
}

impl Bus {
    /// Creates or updates the consumers of one agent name on JOBS.
    pub async fn ensure_agent_consumers(&self, agent: &str) -> Result<Provisioned, BusError> {
        let mut done = Provisioned::default();
        let jobs = self.names().stream(StreamKind::Jobs);
        for spec in self.names().agent_consumers(agent) {
            ensure_consumer(self, &jobs, &spec, &mut done).await?;
        }
        Ok(done)
    }
}

/// True when the site's streams are there. For who may look but not create.
pub async fn is_provisioned(bus: &Bus) -> Result<bool, BusError> {
    match bus.stream_info(&bus.names().stream(StreamKind::Journal)).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == BusErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

async fn ensure_stream(bus: &Bus, spec: &StreamSpec, done: &mut Provisioned) -> Result<(), BusError> {
    let info = format!("STREAM.INFO.{}", spec.name);
    let there: Option<serde_json::Value> = match bus.api(&info, &serde_json::Value::Null, PATIENCE).await {
        Ok(info) => Some(info),
        Err(error) if error.kind() == BusErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let Some(there) = there else {
        let mut config = translate(spec);
        config.metadata.insert(INCARNATION.to_owned(), nonce());
        let body = encode(&config)?;
        return match bus.api::<serde_json::Value>(&format!("STREAM.CREATE.{}", spec.name), &body, PATIENCE).await {
            Ok(_) => {
                done.created.push(spec.name.clone());
                Ok(())
            }
            // 10058: another controller created it in this moment, with another incarnation id. That one stands.
            Err(error) if error.to_string().contains("10058") => {
                done.unchanged += 1;
                Ok(())
            }
            Err(error) => Err(error),
        };
    };
    let was: Config =
        there.get("config").cloned().and_then(|config| serde_json::from_value(config).ok()).ok_or_else(|| {
            BusError::new(BusErrorKind::Corrupt, format_args!("{info}: no configuration in the answer"))
        })?;
    let mut config = translate(spec);
    config.metadata.clone_from(&was.metadata);
    config.metadata.entry(INCARNATION.to_owned()).or_insert_with(nonce);
    if is_same(&was, &config) {
        done.unchanged += 1;
        return Ok(());
    }
    let _: serde_json::Value = bus.api(&format!("STREAM.UPDATE.{}", spec.name), &encode(&config)?, PATIENCE).await?;
    done.updated.push(spec.name.clone());
    Ok(())
}

fn encode(config: &impl serde::Serialize) -> Result<serde_json::Value, BusError> {
    serde_json::to_value(config)
        .map_err(|e| BusError::with(BusErrorKind::Configuration, "the configuration cannot be written as JSON", e))
}

/// Only what we set: the server adds defaults of its own.
fn is_same(was: &Config, wanted: &Config) -> bool {
    was.description == wanted.description
        && was.subjects == wanted.subjects
        && was.max_bytes == wanted.max_bytes
        && was.max_age == wanted.max_age
        && was.max_message_size.max(0) == wanted.max_message_size.max(0)
        && was.discard == wanted.discard
        && was.retention == wanted.retention
        && was.max_messages_per_subject == wanted.max_messages_per_subject
        && was.allow_direct == wanted.allow_direct
        && was.deny_delete == wanted.deny_delete
        && was.num_replicas == wanted.num_replicas
        && was.metadata.get(INCARNATION) == wanted.metadata.get(INCARNATION)
}

fn translate(spec: &StreamSpec) -> Config {
    let signed = |bytes: Option<u64>| bytes.map_or(-1, |b| i64::try_from(b).unwrap_or(i64::MAX));
    Config {
        name: spec.name.clone(),
        description: Some(spec.description.clone()),
        subjects: spec.subjects.clone(),
        retention: match spec.retention {
            Retention::Limits => RetentionPolicy::Limits,
            Retention::WorkQueue => RetentionPolicy::WorkQueue,
        },
        discard: match spec.discard {
            Discard::New => DiscardPolicy::New,
            Discard::Old => DiscardPolicy::Old,
        },
        max_bytes: signed(spec.max_bytes),
        max_messages: -1,
        max_messages_per_subject: signed(spec.max_messages_per_subject),
        max_age: spec.max_age.unwrap_or_default(),
        max_message_size: spec.max_message_bytes.map_or(-1, |b| i32::try_from(b).unwrap_or(i32::MAX)),
        max_consumers: -1,
        storage: StorageType::File,
        num_replicas: spec.replicas,
        duplicate_window: Duration::from_secs(120),
        persist_mode: spec.async_persistence.then_some(PersistenceMode::Async),
        deny_delete: spec.deny_delete,
        deny_purge: spec.deny_purge,
        allow_direct: spec.allow_direct,
        allow_rollup: spec.allow_rollup,
        allow_message_ttl: spec.marker_ttl.is_some(),
        subject_delete_marker_ttl: spec.marker_ttl,
        ..Config::default()
    }
}

async fn ensure_consumer(bus: &Bus, stream: &str, spec: &ConsumerSpec, done: &mut Provisioned) -> Result<(), BusError> {
    let attempt = format!("make the consumer {} on {stream}", spec.name);
    let was: Option<serde_json::Value> =
        match bus.api(&format!("CONSUMER.INFO.{stream}.{}", spec.name), &serde_json::Value::Null, PATIENCE).await {
            Ok(info) => Some(info),
            Err(error) if error.kind() == BusErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
    if let Some(was) = &was
        && is_same_consumer(was, spec)
    {
        done.unchanged += 1;
        return Ok(());
    }
    let ack_policy = match spec.ack {
        Ack::Each => AckPolicy::Explicit,
        Ack::Through => AckPolicy::All,
    };
    let jetstream = bus.jetstream();
    let made = async {
        let failed = |e| BusError::with(BusErrorKind::Rejected, format_args!("{attempt}: refused"), e);
        match &spec.deliver_subject {
            None => {
                let config = pull::Config {
                    durable_name: Some(spec.name.clone()),
                    description: Some(spec.description.clone()),
                    filter_subject: spec.filter.clone(),
                    deliver_policy: DeliverPolicy::All,
                    ack_policy,
                    ack_wait: spec.ack_wait,
                    max_ack_pending: spec.max_ack_pending,
                    ..pull::Config::default()
                };
                jetstream.create_consumer_on_stream(config, stream).await.map(|_| ()).map_err(failed)
            }
            Some(subject) => {
                let config = push::Config {
                    durable_name: Some(spec.name.clone()),
                    description: Some(spec.description.clone()),
                    filter_subject: spec.filter.clone(),
                    deliver_policy: DeliverPolicy::All,
                    deliver_subject: subject.clone(),
                    ack_policy,
                    ack_wait: spec.ack_wait,
                    max_ack_pending: spec.max_ack_pending,
                    ..push::Config::default()
                };
                jetstream.create_consumer_on_stream(config, stream).await.map(|_| ()).map_err(failed)
            }
        }
    };
    bus.within(PATIENCE, &attempt, made).await?;
    let list = if was.is_some() { &mut done.updated } else { &mut done.created };
    list.push(format!("{stream}/{}", spec.name));
    Ok(())
}

fn is_same_consumer(was: &serde_json::Value, spec: &ConsumerSpec) -> bool {
    let config = &was["config"];
    let text = |name: &str| config.get(name).and_then(serde_json::Value::as_str);
    let number = |name: &str| config.get(name).and_then(serde_json::Value::as_i64);
    text("description") == Some(&spec.description)
        && text("filter_subject") == Some(&spec.filter)
        && text("deliver_subject") == spec.deliver_subject.as_deref()
        && number("ack_wait") == i64::try_from(spec.ack_wait.as_nanos()).ok()
        && number("max_ack_pending") == Some(spec.max_ack_pending)
}
