//! Who answers a request: this instance, or the active one.

use crate::LeasedService;
use crate::active::Instance;
use crate::answer::{self, encode, error, not_served, unavailable};
use bytes::Bytes;
use ordo_contract::request::{ServiceReply, service, status};
use ordo_journal::{Call, CallError, Handler, RequestError, ServiceSpec};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// From a standby to the active instance: a request that only the active one answers.
const FORWARD: &str = "service.forward";
/// A little longer than who asks waits himself.
const FORWARD_LIMIT: Duration = Duration::from_secs(30);
const AT_A_TIME: usize = 64;

/// What a request to the active instance is wrapped in, so that it still knows who asked.
#[derive(Serialize, Deserialize)]
struct Forward {
    user: String,
    noun: String,
    verb: String,
    /// Requests are JSON: this is text.
    body: String,
}

/// How this process ends.
#[derive(Clone, Default)]
pub(crate) struct Ending {
    pub(crate) token: CancellationToken,
    restart: Arc<Mutex<Option<String>>>,
}

impl Ending {
    pub(crate) fn below(shutdown: &CancellationToken) -> Self {
        Self { token: shutdown.child_token(), restart: Arc::default() }
    }

    fn restart(&self, why: String) {
        *self.restart.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.token.cancel();
    }

    pub(crate) fn restart_wanted(&self) -> Option<String> {
        self.restart.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(crate) fn spec<S: LeasedService>(of: &S, instance: &Instance) -> ServiceSpec {
    let of_all = of.endpoints().into_iter().chain(of.active_endpoints());
    let own = |names: &[&'static str]| names.iter().filter_map(|name| name.split_once('.')).collect::<Vec<_>>();
    let of_instance = of.instance_endpoints().into_iter().chain(own(&[service::RESTART, service::RUN, FORWARD]));
    ServiceSpec {
        role: S::ROLE.into(),
        instance: instance.settings.instance.clone(),
        node: instance.settings.node.clone(),
        description: of.description(&instance.settings.site),
        version: env!("CARGO_PKG_VERSION").into(),
        at_a_time: AT_A_TIME,
        role_endpoints: of_all.chain(own(&[service::RUN])).collect(),
        instance_endpoints: of_instance.collect(),
    }
}

pub(crate) fn handler<S: LeasedService>(service: Arc<S>, instance: Instance, ending: Ending) -> Handler {
    Arc::new(move |call| {
        let router = Router { service: service.clone(), instance: instance.clone(), ending: ending.clone() };
        Box::pin(async move { router.route(call).await })
    })
}

struct Router<S> {
    service: Arc<S>,
    instance: Instance,
    ending: Ending,
}

impl<S: LeasedService> Router<S> {
    async fn route(&self, call: Call) -> Result<Bytes, CallError> {
        let endpoint = format!("{}.{}", call.noun, call.verb);
        if call.user.starts_with("agent-") && !self.service.agent_endpoints().contains(&endpoint.as_str()) {
            return Err(error(status::FORBIDDEN, "forbidden", "agents have no business with this service"));
        }
        match endpoint.as_str() {
            FORWARD => {
                if call.user != S::ROLE {
                    return Err(error(status::FORBIDDEN, "forbidden", "instances of the role ask this of each other"));
                }
                let Forward { user, noun, verb, body } = answer::body(&call)?;
                if !self.instance.is_active() {
                    return Err(self.not_active());
                }
                self.answer(&Call { user, noun, verb, body: body.into(), ..call }).await
            }
            service::RESTART => {
                tracing::info!(user = call.user, "restart asked for");
                let reply = encode(&self.here());
                self.ending.restart(format!("by {}", call.user));
                reply
            }
            service::RUN => {
                if !S::RUNS {
                    let text = format!("{} has nothing to run now: what it does, it does all the time", S::ROLE);
                    return Err(error(status::REFUSED, "nothing_to_run", text));
                }
                self.by_the_active(&call).await
            }
            _ if self.is_for_the_active(&call) => self.by_the_active(&call).await,
            _ => self.answer(&call).await,
        }
    }

    fn is_for_the_active(&self, call: &Call) -> bool {
        self.service.active_endpoints().contains(&(call.noun.as_str(), call.verb.as_str()))
    }

    async fn answer(&self, call: &Call) -> Result<Bytes, CallError> {
        if format!("{}.{}", call.noun, call.verb) == service::RUN {
            tracing::info!(user = call.user, "run now");
            self.instance.wakes.run();
            return encode(&self.here());
        }
        self.service.answer(&self.instance, call).await
    }

    async fn by_the_active(&self, call: &Call) -> Result<Bytes, CallError> {
        if self.instance.is_active() {
            return self.answer(call).await;
        }
        if call.instance.is_some() {
            return Err(self.not_active());
        }
        let me = &self.instance;
        let Some(holder) = me.holder().filter(|holder| holder.as_str() != me.settings.instance) else {
            return Err(unavailable(format!("no instance of {} is active now; ask again in a moment", S::ROLE)));
        };
        let body = String::from_utf8(call.body.to_vec()).map_err(|_| answer::malformed("the request is no text"))?;
        let (user, noun, verb) = (call.user.clone(), call.noun.clone(), call.verb.clone());
        let body = encode(&Forward { user, noun, verb, body })?;
        let (noun, verb) = FORWARD.split_once('.').unwrap_or_default();
        let subject = me.bus.names().instance(S::ROLE, S::ROLE, holder.as_str(), noun, verb);
        me.bus.request(&subject, body, FORWARD_LIMIT).await.map_err(|e| match e {
            RequestError::Refused(error) => error,
            other => unavailable(format!("{} {holder}, which is active, does not answer: {other}", S::ROLE)),
        })
    }

    fn here(&self) -> ServiceReply {
        ServiceReply { instance: self.instance.settings.instance.clone() }
    }

    fn not_active(&self) -> CallError {
        let is = match self.instance.holder() {
            Some(holder) if holder.as_str() != self.instance.settings.instance => format!("{holder} is"),
            _ => "nobody is".to_owned(),
        };
        unavailable(format!("{} {} is not active now, {is}; ask the role", S::ROLE, self.instance.settings.instance))
    }
}

/// The answer of a service that answers nothing of its own.
pub(crate) async fn nothing(call: &Call) -> Result<Bytes, CallError> {
    Err(not_served(call))
}
