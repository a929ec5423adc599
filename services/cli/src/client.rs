//! One question, one answer: requests to whoever serves a role, under the person's own name.

use crate::{arguments::Common, error::CliError, settings::Settings};
use ordo_contract::{name::SiteNames, request::Asked, request::ErrorBody, request::status};
use ordo_domain::Instant;
use ordo_journal::{Bus, BusConfig, BusError, BusErrorKind, CallError, Listener, RequestError};
use ordo_runtime::{Clock, SystemClock};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// A connection as one person.
#[derive(Debug, Clone)]
pub struct Client {
    bus: Bus,
    settings: Settings,
}

/// For answers that need no waiting.
pub const PROMPT: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(300);

impl Client {
    /// Connects as flags, environment and `ordo.env` say.
    pub async fn connect(common: &Common) -> Result<Self, CliError> {
        Self::open(Settings::find(common)?).await
    }

    pub async fn open(settings: Settings) -> Result<Self, CliError> {
        let config = BusConfig {
            url: settings.url.clone(),
            creds: settings.creds.clone(),
            ca: settings.ca.clone(),
            identity: None,
            name: format!("ordo command line of {}", settings.user),
            site: settings.site.clone(),
            user: settings.user.clone(),
        };
        match Bus::connect(config).await {
            Ok(bus) => Ok(Self { bus, settings }),
            Err(error) => Err(unreachable(&settings, &error)),
        }
    }

    pub fn names(&self) -> &SiteNames {
        &self.settings.site
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// By this machine's clock, for ages.
    pub fn now(&self) -> Instant {
        SystemClock.now()
    }

    /// Asks whoever serves `role`; `endpoint` is `<noun>.<verb>` of `contract::request`.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        role: &str,
        endpoint: &str,
        question: &Q,
    ) -> Result<A, CliError> {
        self.ask_for(role, endpoint, question, PROMPT).await
    }

    pub async fn ask_for<Q: Serialize, A: DeserializeOwned>(
        &self,
        role: &str,
        endpoint: &str,
        question: &Q,
        limit: Duration,
    ) -> Result<A, CliError> {
        let (noun, verb) = endpoint.split_once('.').unwrap_or((endpoint, ""));
        let subject = self.names().request(&self.settings.user, role, noun, verb);
        self.ask_on(&subject, role, endpoint, question, limit).await
    }

    /// Asks the proxy for a command. One that got no answer may have been taken all the same: such an error names the
    /// id with which a repeat is no second one.
    pub async fn command<Q: Serialize, A: DeserializeOwned>(
        &self,
        endpoint: &str,
        question: &Q,
        asked: &Asked,
        limit: Duration,
    ) -> Result<A, CliError> {
        self.ask_for("proxy", endpoint, question, limit).await.map_err(|error| match &asked.id {
            Some(id) => error.with_id(id),
            None => error,
        })
    }

    /// Asks one instance of a role.
    pub async fn ask_instance<Q: Serialize, A: DeserializeOwned>(
        &self,
        role: &str,
        instance: &str,
        endpoint: &str,
        question: &Q,
    ) -> Result<A, CliError> {
        let (noun, verb) = endpoint.split_once('.').unwrap_or((endpoint, ""));
        let subject = self.names().instance(&self.settings.user, role, instance, noun, verb);
        self.ask_on(&subject, role, endpoint, question, PROMPT).await
    }

    async fn ask_on<Q: Serialize, A: DeserializeOwned>(
        &self,
        subject: &str,
        role: &str,
        endpoint: &str,
        question: &Q,
        limit: Duration,
    ) -> Result<A, CliError> {
        let body = serde_json::to_vec(question)
            .map_err(|e| CliError::failed(format!("the request cannot be written: {e}")))?;
        let answer = self.bus.request(subject, body, limit).await.map_err(|e| self.failed(role, endpoint, e))?;
        serde_json::from_slice(&answer).map_err(|e| {
            CliError::failed(format!(
                "the answer of {role} to {endpoint} is not understood ({e}); is this ordo older than the site?"
            ))
        })
    }

    /// Asks again while nobody answers or the other side says "not now", until the deadline (then `None`): for who
    /// waits anyway, over a restart of whoever answers.
    pub async fn ask_patiently<Q: Serialize, A: DeserializeOwned>(
        &self,
        role: &str,
        endpoint: &str,
        question: &Q,
        limit: Duration,
        deadline: Option<tokio::time::Instant>,
    ) -> Result<Option<A>, CliError> {
        let mut failing_since = None;
        loop {
            let over = |at: tokio::time::Instant| deadline.is_some_and(|deadline| at >= deadline);
            match self.ask_for(role, endpoint, question, limit).await {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) if error.exit() != crate::Exit::NotReachable => return Err(error),
                Err(error) => {
                    let now = tokio::time::Instant::now();
                    let since = *failing_since.get_or_insert(now);
                    if over(now) {
                        return Ok(None);
                    }
                    if now - since > PATIENCE {
                        return Err(error);
                    }
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
            }
        }
    }

    pub async fn listen(&self, subject: &str) -> Result<Listener, CliError> {
        self.bus.listen(subject).await.map_err(|e| unreachable(&self.settings, &e))
    }

    fn failed(&self, role: &str, endpoint: &str, error: RequestError) -> CliError {
        match error {
            RequestError::NoResponders { .. } => CliError::NotReachable {
                message: format!("the bus is there, but no {role} of site {} answers", self.names().site()),
                tried: format!("{endpoint} at {} as {}", self.settings.shown_url(), self.settings.user),
                help: format!("is a {role} running? `ordo up` starts all of a site; --site NAME asks another one"),
            },
            RequestError::Refused(CallError { code, text, body }) => {
                let body = serde_json::from_slice::<ErrorBody>(&body).unwrap_or_else(|_| ErrorBody {
                    code: if code == status::NOT_FOUND { "not_found".into() } else { "failed".into() },
                    message: text,
                    refusal: None,
                });
                CliError::Answer { code, body }
            }
            RequestError::Bus(error) if error.kind() == BusErrorKind::Timeout => CliError::NotReachable {
                message: format!("the {role} did not answer in time"),
                tried: format!("{endpoint} at {} as {}", self.settings.shown_url(), self.settings.user),
                help: format!(
                    "`ordo status` shows who is there; a user may ask only under its own name: is {} that of the credentials?",
                    self.settings.user
                ),
            },
            RequestError::Bus(error) => unreachable(&self.settings, &error),
        }
    }
}

/// How long [`Client::ask_patiently`] bears to be told "not now": restarts are over by then.
const PATIENCE: Duration = Duration::from_secs(120);

fn unreachable(settings: &Settings, error: &BusError) -> CliError {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message.push_str(&format!(": {text}"));
        }
        source = cause.source();
    }
    let help = match (error.kind(), &settings.env_file) {
        (BusErrorKind::Unauthorized, _) => {
            "check --creds (ORDO_NATS_CREDS): the file that `ordo up` or `ordo user add` wrote for you".to_owned()
        }
        (BusErrorKind::TooOld, _) => "install nats-server 2.12 or later there".to_owned(),
        (_, Some(file)) => format!(
            "is the site running? `ordo up` starts it. The address is from {}; --nats-url or ORDO_NATS_URL names another",
            file.display()
        ),
        (_, None) => {
            "is a NATS server there? `ordo up` starts a site; --nats-url (ORDO_NATS_URL) and --creds (ORDO_NATS_CREDS) name another"
                .to_owned()
        }
    };
    CliError::NotReachable { message, tried: format!("{} as {}", settings.shown_url(), settings.user), help }
}
