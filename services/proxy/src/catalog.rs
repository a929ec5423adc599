//! Definitions that services act by: what is deployed, removing, suspending and resuming.

use crate::answer::Problem;
use crate::command::{Outcome, PENDING, another, is_same};
use crate::order_query::CATCH_UP;
use crate::serve::{Proxy, parse};
use ordo_contract::request::Asked;
use ordo_contract::request::catalog::{
    DefinitionLine, DefinitionListReply, DefinitionListRequest, DefinitionRemoveRequest, DefinitionShowReply,
    DefinitionShowRequest, Deployed, DeployedReply, DoneReply, SchedulesRequest,
};
use ordo_domain::catalog::{DefinitionKind, DeployedDefinition, RemoveDefinitions, ResumeSchedules, SuspendSchedules};
use ordo_domain::{Command, DefinitionName, Refusal, UserName, command::Accepted};

impl Proxy {
    pub async fn definition_list(&self, body: &[u8]) -> Result<DefinitionListReply, Problem> {
        let request: DefinitionListRequest = parse(body)?;
        let wanted = self.mirror.read(|replica| {
            let all = replica.site.deployed_definitions();
            let of_kind = all.filter(|(kind, _, _)| request.kind.is_none_or(|wanted| wanted == *kind));
            of_kind.map(|(kind, name, d)| (kind, name.clone(), d.clone())).collect::<Vec<_>>()
        });
        let mut definitions = Vec::with_capacity(wanted.len());
        for (kind, name, deployed) in wanted {
            let body = self.bodies.fetch_catalog(&self.bus, &deployed.hash).await?;
            definitions.push(DefinitionLine {
                kind,
                name,
                title: body.as_ref().and_then(|body| body.title().map(str::to_owned)),
                version: deployed.version,
                deployed_at: deployed.deployed_at,
                suspended: deployed.suspended,
            });
        }
        Ok(DefinitionListReply { definitions })
    }

    pub async fn definition_show(&self, body: &[u8]) -> Result<DefinitionShowReply, Problem> {
        let DefinitionShowRequest { kind, name } = parse(body)?;
        let find = || self.mirror.read(|replica| replica.site.definition(kind, &name).cloned());
        let found = match find() {
            Some(found) => found,
            None => {
                self.mirror.catch_up(&self.bus, CATCH_UP).await?;
                find().ok_or_else(|| Problem::refused(&Refusal::DefinitionUnknown { kind, name: name.clone() }))?
            }
        };
        let Some(definition) = self.bodies.fetch_catalog(&self.bus, &found.hash).await? else {
            let message = format!("the body of {kind} {name} ({}) is missing; deploy it again", found.hash);
            return Err(Problem::internal(message));
        };
        Ok(DefinitionShowReply { deployed: deployed(kind, &name, &found), definition: (*definition).clone() })
    }

    /// Everything at once, as of one commit.
    pub fn definition_deployed(&self) -> DeployedReply {
        self.mirror.read(|replica| DeployedReply {
            incarnation: replica.incarnation.clone(),
            sequence: replica.sequence,
            hash: replica.hash.clone(),
            epoch: replica.site.epoch,
            at: replica.site.at,
            definitions: replica.site.deployed_definitions().map(|(kind, name, d)| deployed(kind, name, d)).collect(),
        })
    }

    pub async fn definition_remove(&self, user: &UserName, body: &[u8]) -> Result<DoneReply, Problem> {
        let DefinitionRemoveRequest { items, asked } = parse(body)?;
        let command = Command::RemoveDefinitions(RemoveDefinitions { items: items.clone() });
        self.done(
            user,
            asked,
            command,
            |done| matches!(done, Accepted::Removed { items: done } if is_same(done, &items)),
        )
        .await
    }

    pub async fn schedules_act(&self, user: &UserName, verb: &str, body: &[u8]) -> Result<DoneReply, Problem> {
        let SchedulesRequest { schedules, asked } = parse(body)?;
        let command = match verb {
            "suspend" => Command::SuspendSchedules(SuspendSchedules { schedules: schedules.clone() }),
            _ => Command::ResumeSchedules(ResumeSchedules { schedules: schedules.clone() }),
        };
        let is_it =
            |done: &Accepted| matches!(done, Accepted::Schedules { schedules: done } if is_same(done, &schedules));
        self.done(user, asked, command, is_it).await
    }

    async fn done(
        &self,
        user: &UserName,
        asked: Asked,
        command: Command,
        is_it: impl Fn(&Accepted) -> bool,
    ) -> Result<DoneReply, Problem> {
        Ok(match self.carry_out(user, asked, command).await? {
            Outcome::Accepted(done) if is_it(&done) => DoneReply::default(),
            Outcome::Accepted(other) => return Err(another(&other)),
            Outcome::Pending(id) => DoneReply { pending: Some(PENDING.to_owned()), id: Some(id) },
        })
    }
}

fn deployed(kind: DefinitionKind, name: &DefinitionName, of: &DeployedDefinition) -> Deployed {
    Deployed {
        kind,
        name: name.clone(),
        version: of.version,
        hash: of.hash.clone(),
        deployed_at: of.deployed_at,
        suspended: of.suspended,
    }
}
