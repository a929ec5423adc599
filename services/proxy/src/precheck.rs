//! What is refused before it is published: the shape and the sizes here, the rest by asking the same `decide` as the
//! controller on the mirror. A refusal by the mirror counts only when the mirror is up to date; an acceptance never.

use crate::answer::Problem;
use crate::order_query::CATCH_UP;
use crate::serve::Proxy;
use ordo_contract::command::CommandMessage;
use ordo_contract::replica::Replica;
use ordo_domain::{
    Command, ContentHash, Ctx, Ids, Refusal, RunId, WorkflowName, command::DeployItem, ctx::LoadedWorkflow, definition,
    limit,
};
use ordo_runtime::{Clock, SystemClock};

/// Ids that nobody will see.
struct Throwaway;

impl Ids for Throwaway {
    fn run_id(&self) -> RunId {
        RunId::from_bits(rand::random())
    }
}

/// Sizes that need no state.
pub fn check_sizes(message: &CommandMessage) -> Result<Vec<u8>, Problem> {
    if let Some(reason) = &message.by.reason
        && reason.len() > limit::REASON_BYTES
    {
        return Err(Problem::too_large("the reason", reason.len(), limit::REASON_BYTES));
    }
    if let Command::AddOrders(add) = &message.command
        && add.orders.len() > limit::ORDERS_PER_COMMAND
    {
        let count = add.orders.len() as u64;
        let limit = limit::ORDERS_PER_COMMAND as u64;
        return Err(Problem::refused(&Refusal::TooMany { what: "orders in one command".to_owned(), count, limit }));
    }
    let body =
        serde_json::to_vec(message).map_err(|e| Problem::internal(format!("the command cannot be written: {e}")))?;
    if body.len() > limit::COMMAND_BYTES {
        return Err(Problem::too_large("the command", body.len(), limit::COMMAND_BYTES));
    }
    Ok(body)
}

impl Proxy {
    /// What the controller would refuse, said at once.
    pub async fn precheck(&self, message: &CommandMessage) -> Result<(), Problem> {
        self.fetch_definitions(&message.command).await?;
        if self.would_refuse(message).is_none() {
            return Ok(());
        }
        // The mirror may lie a moment behind what another proxy has told the same person.
        self.mirror.catch_up(&self.bus, CATCH_UP).await?;
        self.fetch_definitions(&message.command).await?;
        match self.would_refuse(message) {
            Some(refusal) => Err(Problem::refused(&refusal)),
            None => Ok(()),
        }
    }

    fn would_refuse(&self, message: &CommandMessage) -> Option<Refusal> {
        self.mirror.read(|replica| {
            let now = replica.site.at.map_or(SystemClock.now(), |at| at.max(SystemClock.now()));
            // The zone makes the business day, and no business day is refused.
            let ctx = Ctx { now, zone: chrono_tz::Tz::UTC, ids: &Throwaway, definitions: &self.bodies };
            ordo_domain::decide::decide(&replica.site, &message.id, &message.by, &message.command, 1, ctx).err()
        })
    }

    /// Has every definition at hand that deciding the command needs.
    async fn fetch_definitions(&self, command: &Command) -> Result<(), Problem> {
        let workflows: Vec<ContentHash> = match command {
            Command::AddOrders(add) => self.mirror.read(|replica| {
                let names: std::collections::BTreeSet<_> = add.orders.iter().map(|order| &order.workflow).collect();
                names.into_iter().filter_map(|name| replica.site.workflows.get(name)).map(|w| w.hash.clone()).collect()
            }),
            Command::ResumeOrders(resume) => self.mirror.read(|replica| {
                let orders = resume.orders.iter().filter_map(|order| replica.site.orders.get(order));
                orders.map(|order| order.workflow.hash.clone()).collect()
            }),
            Command::Deploy(deploy) => {
                for item in &deploy.items {
                    let is_stored = match item {
                        DeployItem::Workflow { name, hash } => match self.bodies.fetch_workflow(&self.bus, hash).await?
                        {
                            Some(body) => {
                                self.verify(name, hash, &body)?;
                                true
                            }
                            None => false,
                        },
                        DeployItem::Lock { hash, .. } => self.bodies.fetch_lock(&self.bus, hash).await?.is_some(),
                        DeployItem::Definition { hash, .. } => {
                            self.bodies.fetch_catalog(&self.bus, hash).await?.is_some()
                        }
                    };
                    if !is_stored {
                        return Err(not_stored(item));
                    }
                }
                // That the others are there is enough; their bodies are not asked for.
                Vec::new()
            }
            // Whoever calls a workflow that is removed. One that is not kept any more is overlooked here only.
            Command::RemoveDefinitions(_) => {
                self.mirror.read(|replica| replica.site.workflows.values().map(|w| w.hash.clone()).collect())
            }
            _ => Vec::new(),
        };
        for hash in workflows {
            self.bodies.fetch_workflow(&self.bus, &hash).await?;
        }
        Ok(())
    }
}

impl Proxy {
    /// Anybody may put a body: one that no file would give is not deployed.
    fn verify(&self, name: &WorkflowName, hash: &ContentHash, body: &LoadedWorkflow) -> Result<(), Problem> {
        let deployed = |replica: &Replica| {
            replica.site.workflows.get(name).is_some_and(|w| w.versions.values().any(|v| v == hash))
        };
        if self.mirror.read(deployed) {
            return Ok(());
        }
        if body.workflow.name != *name {
            let reason = format!("the body stored under {hash} is of workflow {}", body.workflow.name);
            return Err(Problem::refused(&Refusal::DefinitionInvalid {
                definition: format!("workflow {name}"),
                reason,
            }));
        }
        definition::verify(&body.workflow).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Problem::refused(&Refusal::DefinitionInvalid {
                definition: format!("workflow {name}"),
                reason: lines.join("; "),
            })
        })
    }
}

fn not_stored(item: &DeployItem) -> Problem {
    let (kind, name, hash) = (item.kind(), item.name(), item.hash());
    let message = format!("the body of {kind} {name} is not stored under {hash}: put it first with definition.put");
    Problem::not_found("body_unknown", message)
}
