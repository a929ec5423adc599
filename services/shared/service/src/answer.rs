//! Answers to requests: bodies in and out, and errors as answers.

use crate::retry::Passing;
use crate::stop::chain;
use bytes::Bytes;
use ordo_contract::request::{ErrorBody, status};
use ordo_journal::{Call, CallError};
use ordo_store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The body of a request. Empty is `{}`, as `nats req … ''` sends it.
///
/// # Errors
/// 400 with what is wrong.
pub fn body<T: DeserializeOwned>(call: &Call) -> Result<T, CallError> {
    let bytes: &[u8] = if call.body.trim_ascii().is_empty() { b"{}" } else { &call.body };
    serde_json::from_slice(bytes)
        .map_err(|e| malformed(format!("the body of {}.{} is not what it should be: {e}", call.noun, call.verb)))
}

/// An answer.
///
/// # Errors
/// 500 when it cannot be written.
pub fn encode(value: &impl Serialize) -> Result<Bytes, CallError> {
    match serde_json::to_vec(value) {
        Ok(bytes) => Ok(bytes.into()),
        Err(e) => Err(error(status::INTERNAL, "internal", format!("the answer cannot be written: {e}"))),
    }
}

/// An error as an answer: a code in the manner of HTTP, a stable word, and a text that says what would be right.
pub fn error(code: u16, word: &str, message: impl Into<String>) -> CallError {
    let message = message.into();
    let body = ErrorBody { code: word.to_owned(), message: message.clone(), refusal: None };
    CallError::new(code, message).with_body(serde_json::to_vec(&body).unwrap_or_default())
}

pub fn malformed(message: impl Into<String>) -> CallError {
    error(status::MALFORMED, "malformed", message)
}

pub fn not_found(word: &str, message: impl Into<String>) -> CallError {
    error(status::NOT_FOUND, word, message)
}

pub fn unavailable(message: impl Into<String>) -> CallError {
    error(status::UNAVAILABLE, "unavailable", message)
}

/// For a verb that nobody serves.
pub fn not_served(call: &Call) -> CallError {
    not_found("not_served", format!("{}.{} is not served by {}", call.noun, call.verb, call.role))
}

/// The database did not answer, or refused.
pub fn failed(cause: StoreError) -> CallError {
    if cause.passes() {
        tracing::debug!(error = chain(&cause), "request not answered");
        return unavailable(format!("the database cannot be asked now: {}", chain(&cause)));
    }
    match cause {
        StoreError::Refused { what } => malformed(what),
        other => {
            tracing::error!(error = chain(&other), "request failed");
            error(status::INTERNAL, "internal", chain(&other))
        }
    }
}
