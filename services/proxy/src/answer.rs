//! Errors as answers: a code in the manner of HTTP, a stable word, and a text that says what would be right.

use ordo_contract::request::{ErrorBody, status};
use ordo_domain::Refusal;
use ordo_journal::{BusError, CallError};

/// What a handler may fail with.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub status: u16,
    pub body: ErrorBody,
}

impl Problem {
    fn new(status: u16, code: &str, message: impl ToString) -> Self {
        Self { status, body: ErrorBody { code: code.to_owned(), message: message.to_string(), refusal: None } }
    }

    pub fn malformed(message: impl ToString) -> Self {
        Self::new(status::MALFORMED, "malformed", message)
    }

    pub fn forbidden(message: impl ToString) -> Self {
        Self::new(status::FORBIDDEN, "forbidden", message)
    }

    pub fn not_found(code: &str, message: impl ToString) -> Self {
        Self::new(status::NOT_FOUND, code, message)
    }

    pub fn too_large(what: &str, bytes: usize, limit: usize) -> Self {
        let refusal = Refusal::TooLarge { what: what.to_owned(), bytes: bytes as u64, limit: limit as u64 };
        Self { status: status::TOO_LARGE, body: Self::refused(&refusal).body }
    }

    pub fn unavailable(message: impl ToString) -> Self {
        Self::new(status::UNAVAILABLE, "unavailable", message)
    }

    pub fn internal(message: impl ToString) -> Self {
        Self::new(status::INTERNAL, "internal", message)
    }

    pub fn refused(refusal: &Refusal) -> Self {
        let status = match refusal {
            refusal if refusal.is_not_found() => status::NOT_FOUND,
            Refusal::TooLarge { .. } => status::TOO_LARGE,
            _ => status::REFUSED,
        };
        let body = ErrorBody { code: code_of(refusal), message: refusal.to_string(), refusal: Some(refusal.clone()) };
        Self { status, body }
    }
}

fn code_of(refusal: &Refusal) -> String {
    let value = serde_json::to_value(refusal).unwrap_or_default();
    value.get("code").and_then(serde_json::Value::as_str).unwrap_or("refused").to_owned()
}

impl From<BusError> for Problem {
    fn from(error: BusError) -> Self {
        Problem::unavailable(error)
    }
}

impl From<Problem> for CallError {
    fn from(problem: Problem) -> Self {
        let body = serde_json::to_vec(&problem.body).unwrap_or_default();
        CallError::new(problem.status, problem.body.message).with_body(body)
    }
}
