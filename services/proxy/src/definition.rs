//! Definitions: stored by hash, deployed by name, compared before.

use crate::answer::Problem;
use crate::command::{Outcome, PENDING, another};
use crate::order_query::{CATCH_UP, PAGE_BYTES};
use crate::precheck;
use crate::serve::{Proxy, parse};
use ordo_contract::command::CommandMessage;
use ordo_contract::request::{
    DeployChange, DeployReply, DeployRequest, DeployedItem, KnownReply, PutReply, PutRequest, WorkflowLine,
    WorkflowListReply, WorkflowListRequest, WorkflowShowReply, WorkflowShowRequest,
};
use ordo_domain::{
    Command, CommandId, ContentHash, Refusal, Site, UserName, WorkflowName,
    command::{Accepted, By, Deploy, DeployItem},
    definition::{self, KnownWorkflow},
    limit,
    site::DeployedWorkflow,
};
use ordo_runtime::{Clock, SystemClock};
use std::collections::BTreeMap;
use std::ops::Bound;

/// How much of an answer is taken.
#[derive(Default)]
struct Page {
    bytes: usize,
}

impl Page {
    /// Whether this still belongs to it; the first one always.
    fn takes(&mut self, item: &impl serde::Serialize) -> bool {
        let is_first = self.bytes == 0;
        self.bytes += serde_json::to_vec(item).map_or(0, |json| json.len()).max(1);
        is_first || self.bytes <= PAGE_BYTES
    }
}

/// The workflows behind the last one of the page before.
fn after<'a>(
    site: &'a Site,
    request: &WorkflowListRequest,
) -> impl Iterator<Item = (&'a WorkflowName, &'a DeployedWorkflow)> {
    let from = request.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    site.workflows.range::<WorkflowName, _>((from, Bound::Unbounded))
}

impl Proxy {
    pub async fn definition_put(&self, body: &[u8]) -> Result<PutReply, Problem> {
        let request: PutRequest = parse(body)?;
        if request.body.is_empty() {
            return Err(Problem::malformed("the body is empty"));
        }
        // A body is JSON of a definition; what is no JSON object is a script, and those have their own limit.
        let is_definition = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&request.body).is_ok();
        let (what, limit) = if is_definition {
            ("the definition", limit::DEFINITION_BYTES)
        } else {
            ("the script", limit::SCRIPT_BYTES)
        };
        if request.body.len() > limit {
            return Err(Problem::too_large(what, request.body.len(), limit));
        }
        let description = if is_definition { "A definition, normalised" } else { "A script of a job" };
        let name = self.bus.definitions().put_by_hash(description, request.body.as_bytes()).await?;
        Ok(PutReply { hash: ContentHash::new(name).map_err(Problem::internal)? })
    }

    /// What files are checked against. A workflow whose body cannot be read is there without parameters.
    pub async fn definition_known(&self, request: &WorkflowListRequest) -> Result<KnownReply, Problem> {
        let (workflows, locks, agents) = self.mirror.read(|replica| {
            let site = &replica.site;
            let workflows: Vec<_> = after(site, request).map(|(name, w)| (name.clone(), w.hash.clone())).collect();
            let locks = site.locks.iter().map(|(name, lock)| (name.to_string(), lock.definition.capacity)).collect();
            (workflows, locks, site.agents.keys().cloned().collect())
        });
        let mut known = KnownReply { locks, agents, ..KnownReply::default() };
        if request.after.is_some() {
            (known.locks, known.agents) = Default::default();
        }
        let mut page = Page::default();
        for (name, hash) in workflows {
            let body = self.bodies.fetch_workflow(&self.bus, &hash).await?;
            let of = body.map(|body| KnownWorkflow::from(&body.workflow)).unwrap_or_default();
            if !page.takes(&(&name, &name, &name, &of.parameters, &of.calls, &of.locks)) {
                known.more = true;
                break;
            }
            if !of.calls.is_empty() {
                known.calls.insert(name.clone(), of.calls);
            }
            if !of.locks.is_empty() {
                let weights = of.locks.into_iter().map(|(lock, weight)| (lock.to_string(), weight));
                known.weights.insert(name.clone(), weights.collect());
            }
            known.workflows.insert(name, of.parameters);
        }
        Ok(known)
    }

    pub async fn definition_deploy(&self, user: &UserName, body: &[u8]) -> Result<DeployReply, Problem> {
        let request: DeployRequest = parse(body)?;
        let command = Command::Deploy(Deploy { items: request.items.clone() });
        let mut items = Vec::with_capacity(request.items.len());
        for item in &request.items {
            items.push(self.compare(item).await?);
        }
        if request.dry_run {
            let id = CommandId::new(format!("dry-run-{:032x}", rand::random::<u128>())).map_err(Problem::internal)?;
            let by = By { user: user.clone(), reason: request.asked.reason };
            let message = CommandMessage { id, by, at: SystemClock.now(), command };
            precheck::check_sizes(&message)?;
            self.precheck(&message).await?;
            return Ok(DeployReply { items, pending: None });
        }
        match self.carry_out(user, request.asked, command).await? {
            Outcome::Pending(_) => Ok(DeployReply { items, pending: Some(PENDING.to_owned()) }),
            // What was the same already is not among them.
            Outcome::Accepted(Accepted::Deployed { items: deployed })
                if deployed.iter().all(|(item, _)| request.items.contains(item)) =>
            {
                // The controller's word counts: a version may have come in between.
                for (item, version) in deployed {
                    let (kind, name) = (item.kind(), item.name());
                    if let Some(line) = items.iter_mut().find(|line| line.kind == kind && line.name == name) {
                        line.version = version;
                    }
                }
                Ok(DeployReply { items, pending: None })
            }
            Outcome::Accepted(other) => Err(another(&other)),
        }
    }

    /// What deploying this would change.
    async fn compare(&self, item: &DeployItem) -> Result<DeployedItem, Problem> {
        let (kind, name) = (item.kind(), item.name().to_owned());
        let present = self.mirror.read(|replica| match item {
            DeployItem::Workflow { name, .. } => replica.site.workflows.get(name).map(|w| (w.version, w.hash.clone())),
            DeployItem::Lock { name, .. } => replica.site.locks.get(name).map(|l| (l.version, l.hash.clone())),
            DeployItem::Definition { kind, name, .. } => {
                replica.site.definition(*kind, name).map(|d| (d.version, d.hash.clone()))
            }
        });
        let of = |change, version, differences| DeployedItem {
            kind: kind.to_owned(),
            name: name.clone(),
            change,
            version,
            differences,
        };
        match present {
            None => Ok(of(DeployChange::New, 1, Vec::new())),
            Some((version, hash)) if hash == *item.hash() => Ok(of(DeployChange::Unchanged, version, Vec::new())),
            Some((version, hash)) => Ok(of(DeployChange::Changed, version + 1, self.differences(item, &hash).await?)),
        }
    }

    async fn differences(&self, item: &DeployItem, old: &ContentHash) -> Result<Vec<String>, Problem> {
        match item {
            DeployItem::Workflow { hash, .. } => {
                let before = self.bodies.fetch_workflow(&self.bus, old).await?;
                let after = self.bodies.fetch_workflow(&self.bus, hash).await?;
                let (Some(before), Some(after)) = (before, after) else { return Ok(Vec::new()) };
                let changes = definition::difference(&before.workflow, &after.workflow);
                Ok(changes.iter().map(ToString::to_string).collect())
            }
            DeployItem::Lock { name, hash } => {
                let before =
                    self.mirror.read(|replica| replica.site.locks.get(name).map(|lock| lock.definition.clone()));
                let after = self.bodies.fetch_lock(&self.bus, hash).await?;
                let (Some(before), Some(after)) = (before, after) else { return Ok(Vec::new()) };
                let mut differences = Vec::new();
                if before.capacity != after.capacity {
                    differences.push(format!("capacity {} -> {}", before.capacity, after.capacity));
                }
                if before.title != after.title {
                    let text = |title: Option<String>| title.unwrap_or_else(|| "none".to_owned());
                    differences.push(format!("title {} -> {}", text(before.title), text(after.title)));
                }
                Ok(differences)
            }
            DeployItem::Definition { hash, .. } => {
                let before = self.bodies.fetch_catalog(&self.bus, old).await?;
                let after = self.bodies.fetch_catalog(&self.bus, hash).await?;
                let (Some(before), Some(after)) = (before, after) else { return Ok(Vec::new()) };
                Ok(definition::catalog_difference(&before, &after))
            }
        }
    }

    pub async fn workflow_list(&self, request: &WorkflowListRequest) -> Result<WorkflowListReply, Problem> {
        let deployed = self.mirror.read(|replica| {
            let mut orders: BTreeMap<_, u64> = BTreeMap::new();
            for order in replica.site.orders.values().filter(|order| !order.state.is_terminated()) {
                *orders.entry(order.workflow.name.clone()).or_default() += 1;
            }
            let of = |(name, w): (&ordo_domain::WorkflowName, &ordo_domain::site::DeployedWorkflow)| {
                (name.clone(), w.clone(), orders.get(name).copied().unwrap_or_default())
            };
            after(&replica.site, request).map(of).collect::<Vec<_>>()
        });
        let (mut workflows, mut page) = (Vec::with_capacity(deployed.len()), Page::default());
        for (workflow, deployed, orders) in deployed {
            let body = self.bodies.fetch_workflow(&self.bus, &deployed.hash).await?;
            let body = body.as_ref().map(|body| &body.workflow);
            let line = WorkflowLine {
                workflow,
                title: body.and_then(|body| body.title.clone()),
                folder: body.and_then(|body| body.folder.clone()),
                tags: body.map(|body| body.tags.iter().cloned().collect()).unwrap_or_default(),
                version: deployed.version,
                deployed_at: deployed.deployed_at,
                orders,
            };
            if !page.takes(&line) {
                return Ok(WorkflowListReply { workflows, more: true });
            }
            workflows.push(line);
        }
        Ok(WorkflowListReply { workflows, more: false })
    }

    pub async fn workflow_show(&self, body: &[u8]) -> Result<WorkflowShowReply, Problem> {
        let request: WorkflowShowRequest = parse(body)?;
        let find = || self.mirror.read(|replica| replica.site.workflows.get(&request.workflow).cloned());
        let deployed = match find() {
            Some(found) => found,
            None => {
                self.mirror.catch_up(&self.bus, CATCH_UP).await?;
                find()
                    .ok_or_else(|| Problem::refused(&Refusal::WorkflowUnknown { workflow: request.workflow.clone() }))?
            }
        };
        let version = request.version.unwrap_or(deployed.version);
        let versions: Vec<u32> = deployed.versions.keys().copied().collect();
        let Some(hash) = deployed.versions.get(&version) else {
            let known = versions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            let message = format!("workflow {} has no version {version}; there are {known}", request.workflow);
            return Err(Problem::not_found("version_unknown", message));
        };
        let Some(body) = self.bodies.fetch_workflow(&self.bus, hash).await? else {
            let message = format!(
                "the body of {} version {version} ({hash}) is missing in the definition store; deploy it again",
                request.workflow
            );
            return Err(Problem::internal(message));
        };
        Ok(WorkflowShowReply {
            version,
            versions,
            hash: hash.clone(),
            deployed_at: deployed.deployed_at,
            definition: body.workflow.clone(),
        })
    }
}
