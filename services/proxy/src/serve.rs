//! The endpoints: who asks, what, and who answers.

use crate::answer::Problem;
use crate::authorise::authorise;
use crate::body::Bodies;
use crate::instances::Instances;
use crate::mirror::Mirror;
use crate::{ROLE, error::ProxyError};
use bytes::Bytes;
use ordo_contract::request::{AwaitRequest, Nothing, OrderListRequest, OrderRequest, WorkflowListRequest, proxy};
use ordo_domain::NodeName;
use ordo_journal::{Bus, Call, CallError, Service, ServiceSpec};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Requests at a time: many of them only wait.
const AT_A_TIME: usize = 4_096;
/// Larger than any request that can be right.
const REQUEST_BYTES: usize = 1024 * 1024;

const ENDPOINTS: [&str; 21] = [
    proxy::ORDER_ADD,
    proxy::ORDER_CANCEL,
    proxy::ORDER_SUSPEND,
    proxy::ORDER_RESUME,
    proxy::ORDER_LIST,
    proxy::ORDER_SHOW,
    proxy::ORDER_AWAIT,
    proxy::DEFINITION_PUT,
    proxy::DEFINITION_KNOWN,
    proxy::DEFINITION_DEPLOY,
    proxy::WORKFLOW_LIST,
    proxy::WORKFLOW_SHOW,
    proxy::AGENT_LIST,
    proxy::AGENT_ADD,
    proxy::STATUS,
    proxy::DEFINITION_LIST,
    proxy::DEFINITION_SHOW,
    proxy::DEFINITION_DEPLOYED,
    proxy::DEFINITION_REMOVE,
    proxy::SCHEDULE_SUSPEND,
    proxy::SCHEDULE_RESUME,
];

/// What every answer is made from.
pub struct Proxy {
    pub bus: Bus,
    pub mirror: Mirror,
    pub bodies: Bodies,
    pub instances: Instances,
    pub shutdown: CancellationToken,
}

impl Proxy {
    pub fn new(bus: Bus, shutdown: CancellationToken) -> Self {
        Self { bus, mirror: Mirror::new(), bodies: Bodies::default(), instances: Instances::default(), shutdown }
    }
}

/// From now on this instance answers: until its mirror is complete, with 503.
pub async fn register(of: &Arc<Proxy>, instance: &str, node: &NodeName) -> Result<Service, ProxyError> {
    let split = |endpoint: &&'static str| endpoint.split_once('.').unwrap_or((endpoint, ""));
    let spec = ServiceSpec {
        role: ROLE.to_owned(),
        instance: instance.to_owned(),
        node: node.to_string(),
        description: format!("The door to site {}: orders, definitions, agents, status", of.bus.names().site()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role_endpoints: ENDPOINTS.iter().map(split).collect(),
        // The same of one instance, to compare what they say.
        instance_endpoints: ENDPOINTS.iter().map(split).collect(),
        at_a_time: AT_A_TIME,
    };
    let proxy = of.clone();
    let handler = move |call: Call| -> futures::future::BoxFuture<'static, Result<Bytes, CallError>> {
        let proxy = proxy.clone();
        Box::pin(async move {
            let answer = if is_command(&call.noun, &call.verb) {
                // Looks at `shutdown` itself: once its command is published, "ask again" would be half the truth.
                proxy.answer(&call).await
            } else {
                tokio::select! {
                    () = proxy.shutdown.cancelled() => Err(Problem::unavailable("this proxy stops; ask again")),
                    answer = proxy.answer(&call) => answer,
                }
            };
            answer.map_err(|problem| {
                tracing::debug!(
                    user = call.user,
                    noun = call.noun,
                    verb = call.verb,
                    code = problem.body.code,
                    "answered with an error"
                );
                CallError::from(problem)
            })
        })
    };
    Ok(of.bus.serve(spec, Arc::new(handler)).await?)
}

/// Whether what is asked leads to a command.
fn is_command(noun: &str, verb: &str) -> bool {
    let asked = format!("{noun}.{verb}");
    [
        proxy::ORDER_ADD,
        proxy::ORDER_CANCEL,
        proxy::ORDER_SUSPEND,
        proxy::ORDER_RESUME,
        proxy::DEFINITION_DEPLOY,
        proxy::DEFINITION_REMOVE,
        proxy::AGENT_ADD,
        proxy::SCHEDULE_SUSPEND,
        proxy::SCHEDULE_RESUME,
    ]
    .contains(&asked.as_str())
}

/// A request's body. Empty is `{}`, as `nats req … ''` sends it.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|e| {
        Problem::malformed(if e.is_data() {
            format!("the request does not fit: {e}")
        } else {
            format!("the request is no JSON: {e}")
        })
    })
}

fn json(value: &impl Serialize) -> Result<Bytes, Problem> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|e| Problem::internal(format!("the answer cannot be written: {e}")))
}

impl Proxy {
    async fn answer(&self, call: &Call) -> Result<Bytes, Problem> {
        let user = authorise(&call.user, &call.noun, &call.verb)?;
        if call.body.len() > REQUEST_BYTES {
            return Err(Problem::too_large("the request", call.body.len(), REQUEST_BYTES));
        }
        self.mirror
            .readiness()
            .map_err(|why| Problem::unavailable(format!("this proxy {why}; ask again in a moment")))?;
        let body = &call.body[..];
        match format!("{}.{}", call.noun, call.verb).as_str() {
            proxy::ORDER_ADD => json(&self.order_add(&user, body).await?),
            proxy::ORDER_CANCEL | proxy::ORDER_SUSPEND | proxy::ORDER_RESUME => {
                json(&self.orders_act(&user, &call.verb, body).await?)
            }
            proxy::ORDER_LIST => json(&self.order_list(&parse::<OrderListRequest>(body)?)?),
            proxy::ORDER_SHOW => json(&self.order_show(&parse::<OrderRequest>(body)?).await?),
            proxy::ORDER_AWAIT => json(&self.order_await(&parse::<AwaitRequest>(body)?).await?),
            proxy::DEFINITION_PUT => json(&self.definition_put(body).await?),
            proxy::DEFINITION_KNOWN => json(&self.definition_known(&parse::<WorkflowListRequest>(body)?).await?),
            proxy::DEFINITION_DEPLOY => json(&self.definition_deploy(&user, body).await?),
            proxy::WORKFLOW_LIST => json(&self.workflow_list(&parse::<WorkflowListRequest>(body)?).await?),
            proxy::WORKFLOW_SHOW => json(&self.workflow_show(body).await?),
            proxy::AGENT_LIST => {
                parse::<Nothing>(body)?;
                json(&self.agent_list())
            }
            proxy::AGENT_ADD => json(&self.agent_add(&user, body).await?),
            proxy::DEFINITION_LIST => json(&self.definition_list(body).await?),
            proxy::DEFINITION_SHOW => json(&self.definition_show(body).await?),
            proxy::DEFINITION_DEPLOYED => {
                parse::<Nothing>(body)?;
                json(&self.definition_deployed())
            }
            proxy::DEFINITION_REMOVE => json(&self.definition_remove(&user, body).await?),
            proxy::SCHEDULE_SUSPEND | proxy::SCHEDULE_RESUME => {
                json(&self.schedules_act(&user, &call.verb, body).await?)
            }
            proxy::STATUS => {
                parse::<Nothing>(body)?;
                json(&self.status().await?)
            }
            other => Err(Problem::not_found("endpoint_unknown", format!("the proxy does not serve {other}"))),
        }
    }
}
