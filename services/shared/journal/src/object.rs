//! Object stores: definitions and snapshots. The format is that of every NATS client (`nats object ls` shows them), the
//! reading is our own: the library reads by a consumer, and who may make consumers can have the server deliver a
//! stream's contents to any subject. Agents read definitions, so reading goes by direct gets, chunk by chunk.

use crate::bus::{Bus, REQUEST};
use crate::error::{BusError, BusErrorKind};
use crate::exchange::Published;
use crate::follow::nonce;
use crate::message::{Headers, Message};
use crate::publish::direct_message;
use bytes::{Bytes, BytesMut};
use ordo_contract::bus_config::OBJECT_CHUNK_BYTES;
use ordo_contract::name::object_stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// What the store says of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub bucket: String,
    #[serde(default)]
    pub nuid: String,
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    pub chunks: u64,
    #[serde(default, rename = "mtime", skip_serializing_if = "Option::is_none")]
    pub modified_at: Option<chrono::DateTime<chrono::Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<serde_json::Value>,
}

/// An object as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub info: ObjectInfo,
    /// Of its information in the stream.
    sequence: u64,
}

/// A repeat within this time is not noted.
const FRESH: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// One store.
#[derive(Clone, Debug)]
pub struct ObjectStore {
    bus: Bus,
    name: String,
    /// Larger objects are refused before anything is sent.
    max_bytes: usize,
    /// The names of its objects prove nothing about their content: their information must be genuine, which only a
    /// read from the leader shows.
    prove: bool,
}

impl Bus {
    /// Workflow bodies and scripts, named by their SHA-256 in hex.
    pub fn definitions(&self) -> ObjectStore {
        let max_bytes = ordo_domain::limit::DEFINITION_BYTES;
        ObjectStore { bus: self.clone(), name: self.names().definition_store(), max_bytes, prove: false }
    }

    /// Reads a workflow body or script by its SHA-256, verified. `None` = nobody stored it.
    pub async fn definition(&self, hash: &str) -> Result<Option<Bytes>, BusError> {
        self.definitions().get_by_hash(hash).await
    }

    pub(crate) fn snapshot_objects(&self) -> ObjectStore {
        ObjectStore {
            bus: self.clone(),
            name: self.names().snapshot_store(),
            max_bytes: 512 * 1024 * 1024,
            prove: true,
        }
    }
}

impl ObjectStore {
    /// Stores an object under a name; what had the name before is replaced once the new one is whole.
    pub async fn put(&self, name: &str, description: &str, content: &[u8]) -> Result<ObjectInfo, BusError> {
        if content.len() > self.max_bytes {
            return Err(BusError::new(
                BusErrorKind::TooLarge,
                format_args!("object {name}: {} bytes, at most {} are allowed", content.len(), self.max_bytes),
            ));
        }
        let before = self.info(name).await?;
        let nuid = format!("{}{}", nonce(), nonce());
        let chunk_subject = format!("$O.{}.C.{nuid}", self.name);
        let mut chunks = 0;
        for chunk in content.chunks(OBJECT_CHUNK_BYTES) {
            self.store(&chunk_subject, Headers::new(), Bytes::copy_from_slice(chunk)).await?;
            chunks += 1;
        }
        let info = ObjectInfo {
            name: name.to_owned(),
            description: Some(description.to_owned()),
            bucket: self.name.clone(),
            nuid,
            size: content.len() as u64,
            chunks,
            modified_at: Some(chrono::DateTime::from(std::time::SystemTime::now())),
            digest: Some(format!("SHA-256={}", base64_url(&Sha256::digest(content)))),
            deleted: false,
            options: Some(json!({ "max_chunk_size": OBJECT_CHUNK_BYTES })),
        };
        self.write_info(&info).await?;
        if let Some(before) = before {
            self.drop_chunks(&before.nuid).await?;
        }
        Ok(info)
    }

    /// Stores content under its own SHA-256; of a repeat only the time is stored, and not each time: who sweeps unused
    /// objects sees that this one was just wanted. Returns the name.
    pub async fn put_by_hash(&self, description: &str, content: &[u8]) -> Result<String, BusError> {
        let name = hex(&Sha256::digest(content));
        loop {
            let Some(mut known) = self.object(&name).await? else {
                self.put(&name, description, content).await?;
                return Ok(name);
            };
            let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
            if known.info.modified_at.is_some_and(|at| now - at < FRESH) {
                return Ok(name);
            }
            known.info.modified_at = Some(now);
            // Refused where it was swept meanwhile: then it is stored anew.
            if self.write_info_behind(&known.info, known.sequence).await?.is_some() {
                return Ok(name);
            }
        }
    }

    /// Reads an object and checks it against its digest. `None` = there is none of that name.
    pub async fn get(&self, name: &str) -> Result<Option<Bytes>, BusError> {
        let Some(info) = self.info(name).await? else { return Ok(None) };
        let subject = format!("$O.{}.C.{}", self.name, info.nuid);
        let mut content = BytesMut::with_capacity(usize::try_from(info.size).unwrap_or_default().min(self.max_bytes));
        let mut from = 1;
        for _ in 0..info.chunks {
            let Some(chunk) = self.next_on(&subject, from).await? else { break };
            content.extend_from_slice(chunk.payload());
            from = chunk.sequence + 1;
        }
        let digest = format!("SHA-256={}", base64_url(&Sha256::digest(&content)));
        if info.digest.is_some_and(|stored| stored != digest) || content.len() as u64 != info.size {
            return Err(BusError::new(
                BusErrorKind::Corrupt,
                format_args!(
                    "object {name} in {}: {} of {} bytes, digest differs",
                    self.name,
                    content.len(),
                    info.size
                ),
            ));
        }
        Ok(Some(content.freeze()))
    }

    /// Reads an object that is named by its content, and checks that it is.
    pub async fn get_by_hash(&self, hash: &str) -> Result<Option<Bytes>, BusError> {
        let content = self.get(hash).await?;
        match content {
            Some(content) if hex(&Sha256::digest(&content)) != hash => {
                Err(BusError::new(BusErrorKind::Corrupt, format_args!("object {hash}: its content has another hash")))
            }
            content => Ok(content),
        }
    }

    /// What the store says of an object. `None` = there is none of that name.
    pub async fn info(&self, name: &str) -> Result<Option<ObjectInfo>, BusError> {
        Ok(self.object(name).await?.map(|object| object.info))
    }

    async fn object(&self, name: &str) -> Result<Option<Object>, BusError> {
        let stream = object_stream(&self.name);
        let subject = self.info_subject(name);
        let found = if self.prove {
            self.bus.last_on(&stream, &subject).await?.filter(Message::is_genuine)
        } else {
            self.bus.direct_last(&stream, &subject).await?
        };
        let Some(message) = found else { return Ok(None) };
        let object = Object { info: decode(&message)?, sequence: message.sequence };
        Ok(Some(object).filter(|object| !object.info.deleted))
    }

    /// All objects, in the order in which they were stored.
    pub async fn list(&self) -> Result<Vec<ObjectInfo>, BusError> {
        Ok(self.objects().await?.into_iter().map(|object| object.info).collect())
    }

    /// All objects, each with what [`ObjectStore::delete_unchanged`] needs.
    pub async fn objects(&self) -> Result<Vec<Object>, BusError> {
        let subject = format!("$O.{}.M.>", self.name);
        let mut all = Vec::new();
        let mut from = 1;
        while let Some(message) = self.next_on(&subject, from).await? {
            from = message.sequence + 1;
            let info = decode(&message)?;
            if !info.deleted {
                all.push(Object { info, sequence: message.sequence });
            }
        }
        Ok(all)
    }

    /// Removes an object with all that it leaves, unless somebody stored it again since it was listed; says whether.
    pub async fn delete_unchanged(&self, object: &Object) -> Result<bool, BusError> {
        let info = ObjectInfo { deleted: true, size: 0, chunks: 0, digest: None, ..object.info.clone() };
        let Some(marker) = self.write_info_behind(&info, object.sequence).await? else { return Ok(false) };
        self.drop_chunks(&object.info.nuid).await?;
        // The marker goes too, and nothing that was stored behind it.
        let body = json!({ "filter": self.info_subject(&info.name), "seq": marker + 1 });
        self.bus.purge(&object_stream(&self.name), body).await?;
        Ok(true)
    }

    /// Removes an object; says whether there was one.
    pub async fn delete(&self, name: &str) -> Result<bool, BusError> {
        let Some(mut info) = self.info(name).await? else { return Ok(false) };
        info.deleted = true;
        info.size = 0;
        info.chunks = 0;
        info.digest = None;
        self.write_info(&info).await?;
        self.drop_chunks(&info.nuid).await?;
        Ok(true)
    }

    fn info_subject(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.name, base64_url(name.as_bytes()))
    }

    async fn write_info(&self, info: &ObjectInfo) -> Result<(), BusError> {
        self.store(&self.info_subject(&info.name), Headers::new().set("Nats-Rollup", "sub"), encode(info)?).await
    }

    /// Writes it when the last information on its subject is still that one; else `None`.
    async fn write_info_behind(&self, info: &ObjectInfo, sequence: u64) -> Result<Option<u64>, BusError> {
        let headers = Headers::new().set("Nats-Rollup", "sub").expecting_subject_sequence(sequence);
        match self.bus.publish_once(&self.info_subject(&info.name), headers, encode(info)?, REQUEST).await {
            Published::Stored { sequence } => Ok(Some(sequence)),
            Published::Conflict => Ok(None),
            Published::TooLarge(error) | Published::Trouble(error) => Err(error),
        }
    }

    async fn store(&self, subject: &str, headers: Headers, payload: Bytes) -> Result<(), BusError> {
        match self.bus.publish_once(subject, headers, payload, REQUEST).await {
            Published::Stored { .. } => Ok(()),
            Published::TooLarge(error) | Published::Trouble(error) => Err(error),
            Published::Conflict => Err(BusError::new(BusErrorKind::Rejected, format_args!("{subject}: refused"))),
        }
    }

    async fn drop_chunks(&self, nuid: &str) -> Result<(), BusError> {
        let filter = format!("$O.{}.C.{nuid}", self.name);
        self.bus.purge(&object_stream(&self.name), json!({ "filter": filter })).await.map(|_| ())
    }

    async fn next_on(&self, subject: &str, from: u64) -> Result<Option<Message>, BusError> {
        let asked = format!("$JS.API.DIRECT.GET.{}", object_stream(&self.name));
        let body = json!({ "seq": from, "next_by_subj": subject }).to_string();
        direct_message(self.bus.ask(&asked, None, body.into(), Duration::from_secs(10)).await?, &asked)
    }
}

fn encode(info: &ObjectInfo) -> Result<Bytes, BusError> {
    let body = serde_json::to_vec(info);
    body.map(Bytes::from)
        .map_err(|e| BusError::with(BusErrorKind::Configuration, "object information cannot be written", e))
}

fn decode(message: &Message) -> Result<ObjectInfo, BusError> {
    serde_json::from_slice(message.payload()).map_err(|e| {
        let text = format!("{}: not the information of an object", message.subject());
        BusError::with(BusErrorKind::Corrupt, text, e)
    })
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Base 64 with the URL alphabet and padding, RFC 4648 section 5, as object stores name things.
fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 63;
            text.push(if place <= group.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_rfc_4648() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        for (plain, coded) in cases {
            assert_eq!(base64_url(plain.as_bytes()), coded);
        }
        assert_eq!(base64_url(&[0xfb, 0xff]), "-_8=");
    }
}
