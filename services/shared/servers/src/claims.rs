//! The tokens of NATS' operator mode: JSON Web Tokens of version 2, signed with ed25519 keys of the level above
//! (operator signs accounts, account signs users). Only the claims that Ordo uses are written; the format is that of
//! github.com/nats-io/jwt v2. The Rust crates for it either lack the operator's claims or call themselves unfinished.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use nkeys::KeyPair;
use ordo_contract::right::{Offer, Permissions, Subjects};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512_256};
use std::time::{SystemTime, UNIX_EPOCH};

/// No limit, in NATS' limits.
const UNLIMITED: i64 = -1;

/// The operator's own token, signed by itself.
///
/// # Errors
/// When the key cannot sign (it holds no seed).
pub fn operator(operator: &KeyPair, system_account: &str) -> Result<String, nkeys::error::Error> {
    let claims = json!({ "type": "operator", "version": 2, "system_account": system_account });
    encode("ordo", &operator.public_key(), operator, claims)
}

/// What crosses an account's border.
#[derive(Debug, Default)]
pub struct Borders<'a> {
    /// What it offers to others.
    pub exports: Vec<Offer>,
    /// What it takes, from the account with that public key.
    pub imports: Vec<(Offer, &'a str)>,
}

/// An account's token. `jetstream` accounts may store without a limit of their own: streams have theirs, and the server
/// has one for all.
///
/// # Errors
/// When the operator's key cannot sign.
pub fn account(
    name: &str,
    account: &KeyPair,
    operator: &KeyPair,
    jetstream: bool,
    borders: &Borders<'_>,
) -> Result<String, nkeys::error::Error> {
    let storage = if jetstream { UNLIMITED } else { 0 };
    let limits = json!({
        "subs": UNLIMITED, "data": UNLIMITED, "payload": UNLIMITED, "imports": UNLIMITED, "exports": UNLIMITED,
        "wildcards": true, "conn": UNLIMITED, "leaf": UNLIMITED, "mem_storage": storage, "disk_storage": storage,
        "streams": storage, "consumer": storage,
    });
    let exports: Vec<Value> = borders.exports.iter().map(export).collect();
    let imports: Vec<Value> = borders.imports.iter().map(|(offer, from)| import(offer, from)).collect();
    let mut claims = json!({ "type": "account", "version": 2, "limits": limits });
    if let Value::Object(map) = &mut claims {
        for (name, list) in [("exports", exports), ("imports", imports)] {
            if !list.is_empty() {
                map.insert(name.to_owned(), Value::Array(list));
            }
        }
    }
    encode(name, &account.public_key(), operator, claims)
}

fn export(offer: &Offer) -> Value {
    let subject = offer.subject();
    match offer {
        Offer::Service { many, .. } => {
            let answers = if *many { "Stream" } else { "Singleton" };
            json!({ "name": subject, "subject": subject, "type": "service", "response_type": answers })
        }
        Offer::Stream { .. } => json!({ "name": subject, "subject": subject, "type": "stream" }),
    }
}

fn import(offer: &Offer, from: &str) -> Value {
    let subject = offer.subject();
    let kind = match offer {
        Offer::Service { .. } => "service",
        Offer::Stream { .. } => "stream",
    };
    json!({ "name": subject, "subject": subject, "type": kind, "account": from })
}

/// A user's token with its rights.
///
/// # Errors
/// When the account's key cannot sign.
pub fn user(
    name: &str,
    user: &str,
    account: &KeyPair,
    permissions: &Permissions,
) -> Result<String, nkeys::error::Error> {
    let mut claims = json!({
        "type": "user", "version": 2, "subs": UNLIMITED, "data": UNLIMITED, "payload": UNLIMITED,
        "pub": subjects(&permissions.publish), "sub": subjects(&permissions.subscribe),
    });
    if let (Some(responses), Value::Object(map)) = (permissions.responses, &mut claims) {
        let nanoseconds = u64::try_from(responses.within.as_nanos()).unwrap_or(u64::MAX);
        map.insert("resp".to_owned(), json!({ "max": responses.max, "ttl": nanoseconds }));
    }
    encode(name, user, account, claims)
}

/// A user of the system account, without limits on it: it sees the server, never the orders.
///
/// # Errors
/// When the account's key cannot sign.
pub fn unrestricted_user(name: &str, user: &str, account: &KeyPair) -> Result<String, nkeys::error::Error> {
    let claims = json!({
        "type": "user", "version": 2, "subs": UNLIMITED, "data": UNLIMITED, "payload": UNLIMITED,
        "pub": {}, "sub": {},
    });
    encode(name, user, account, claims)
}

/// The `.creds` file of a user: its token and its seed, in the armour that all NATS clients read.
pub fn credentials(token: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\
         The seed below proves who you are. Keep it secret.\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

fn subjects(subjects: &Subjects) -> Value {
    let mut map = Map::new();
    // An empty allow list would mean "everything": who may nothing is denied everything.
    match (subjects.allow.is_empty(), subjects.deny.is_empty()) {
        (true, _) => drop(map.insert("deny".to_owned(), json!([">"]))),
        (false, true) => drop(map.insert("allow".to_owned(), json!(subjects.allow))),
        (false, false) => {
            map.insert("allow".to_owned(), json!(subjects.allow));
            map.insert("deny".to_owned(), json!(subjects.deny));
        }
    }
    Value::Object(map)
}

fn encode(name: &str, subject: &str, issuer: &KeyPair, nats: Value) -> Result<String, nkeys::error::Error> {
    let issued = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut claims = json!({ "iat": issued, "iss": issuer.public_key(), "name": name, "sub": subject, "nats": nats });
    // The token's id is a hash of its claims without the id.
    let id = BASE32_NOPAD.encode(&Sha512_256::digest(claims.to_string().as_bytes()));
    if let Value::Object(map) = &mut claims {
        map.insert("jti".to_owned(), Value::String(id));
    }
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let signed = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header.to_string().as_bytes()),
        BASE64URL_NOPAD.encode(claims.to_string().as_bytes())
    );
    let signature = issuer.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
}
