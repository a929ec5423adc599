//! A provisioned site on a private server.

use ordo_contract::bus_config::Limits;
use ordo_journal::{Bus, BusConfig, BusError, provision};
use ordo_testkit::{TestNats, User};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine, short enough to see a hang.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Site {
    pub nats: TestNats,
}

impl Site {
    pub async fn start() -> Self {
        let site = Self { nats: TestNats::start().await };
        provision(&site.bus(&User::Controller).await, &Limits::scaled_down(64)).await.unwrap();
        site
    }

    pub fn config(&self, user: &User) -> BusConfig {
        BusConfig {
            url: self.nats.url(),
            creds: Some(self.nats.creds(user)),
            ca: None,
            identity: None,
            name: format!("test of {}", user.name()),
            site: self.nats.site().clone(),
            user: user.name(),
        }
    }

    pub async fn bus(&self, user: &User) -> Bus {
        Bus::connect(self.config(user)).await.unwrap()
    }

    pub async fn agent(&self, name: &str) -> Bus {
        self.bus(&User::Agent(name.to_owned())).await
    }

    pub async fn person(&self, name: &str) -> Bus {
        self.bus(&User::Person(name.to_owned())).await
    }
}

/// Waits for something that must come soon.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.unwrap_or_else(|_| panic!("{what} did not come within {SOON:?}"))
}

pub fn never() -> CancellationToken {
    CancellationToken::new()
}

/// The chain of an error, for asserting on what a person would read.
pub fn chain(error: &BusError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
