//! Getting a finished message to one recipient, and saying what came of it. Who waits how long before the next try is not
//! decided here.
//!
//! # Layout
//! - [`Post`]: the two servers, or the folder as long as there is none
//! - `outcome`: [`Outcome`] = accepted, later, refused, trouble
//! - `smtp`: one server: connection, TLS, log-in, one message
//! - `folder`: `.eml` files

mod folder;
mod outcome;
mod smtp;
#[cfg(test)]
mod tests;

pub use outcome::Outcome;
pub use smtp::{Limits, Security, Server, ServerError};

use ordo_domain::alert::MailAddress;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// After trouble with the first server the second one is asked first for so long.
const AVOID: Duration = Duration::from_secs(60);

/// Where messages go.
pub enum Post {
    Servers(Servers),
    /// Nothing is sent: each message becomes a file that a mail program opens.
    Folder(PathBuf),
}

pub struct Servers {
    servers: Vec<Server>,
    avoid_first_until: Mutex<Option<Instant>>,
}

impl Post {
    pub fn servers(servers: Vec<Server>) -> Self {
        Post::Servers(Servers { servers, avoid_first_until: Mutex::new(None) })
    }

    /// Sends one message to one recipient.
    pub async fn send(&self, from: &MailAddress, to: &MailAddress, name: &str, message: &[u8]) -> Outcome {
        match self {
            Post::Folder(folder) => folder::write(folder, to, name, message).await,
            Post::Servers(servers) => servers.send(from, to, message).await,
        }
    }

    /// For people: `mail.example.org:587`, or the folder.
    pub fn describe(&self) -> String {
        match self {
            Post::Folder(folder) => format!("folder {}", folder.display()),
            Post::Servers(s) => s.servers.iter().map(Server::address).collect::<Vec<_>>().join(", then "),
        }
    }
}

impl Servers {
    async fn send(&self, from: &MailAddress, to: &MailAddress, message: &[u8]) -> Outcome {
        let mut outcome = Outcome::Trouble { server: String::new(), why: "no mail server is configured".into() };
        for (n, server) in self.in_order() {
            match server.send(from, to, message).await {
                Ok(response) => {
                    if n == 0 {
                        *self.avoid() = None;
                    }
                    return Outcome::Accepted { server: server.address(), response };
                }
                Err(error) => {
                    let another = error.concerns_server;
                    tracing::debug!(server = server.address(), error = error.why, "mail not accepted");
                    if n == 0 && another && self.servers.len() > 1 {
                        *self.avoid() = Some(Instant::now() + AVOID);
                    }
                    outcome = better(outcome, error.outcome(server.address()));
                    if !another {
                        return outcome;
                    }
                }
            }
        }
        outcome
    }

    /// The first server first, unless it was in trouble a moment ago.
    fn in_order(&self) -> Vec<(usize, &Server)> {
        let mut order: Vec<(usize, &Server)> = self.servers.iter().enumerate().collect();
        let mut avoid = self.avoid();
        if avoid.is_some_and(|until| until <= Instant::now()) {
            *avoid = None;
        }
        if avoid.is_some() {
            order.reverse();
        }
        order
    }

    fn avoid(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.avoid_first_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Of what two servers said: what heals by itself is better news than what a person must repair.
fn better(one: Outcome, other: Outcome) -> Outcome {
    match (&one, &other) {
        (Outcome::Later { .. }, Outcome::Trouble { .. }) => one,
        _ => other,
    }
}
