//! From a request to COMMANDS, and back with the outcome.
//!
//! A command is published once its id is chosen, and its outcome is read from the mirror, where the controller's
//! decision arrives: so a repeat with the same id, by any proxy, has the same outcome.

use crate::answer::Problem;
use crate::interest::Topic;
use crate::order_query;
use crate::precheck;
use crate::serve::{Proxy, parse};
use ordo_contract::command::{CommandMessage, noun_verb};
use ordo_contract::request::{AddAgentRequest, AddMany, AddOrdersReply, Asked, OrdersReply, OrdersRequest};
use ordo_domain::{
    Command, CommandId, OrderId, Position, UserName,
    agent::AddAgent,
    command::{Accepted, By},
    order::command::{AddOrders, CancelOrders, NewOrder, ResumeOrders, SuspendOrders},
    site::CommandOutcome,
};
use ordo_journal::{BusErrorKind, Headers, Outgoing};
use ordo_runtime::{Clock, SystemClock};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long an outcome is waited for.
const OUTCOME: Duration = Duration::from_secs(5);
/// One attempt to publish.
const PUBLISH: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 3;

/// What is said when nobody decides yet.
pub const PENDING: &str = "accepted, no controller active yet";

/// What became of a command.
pub enum Outcome {
    Accepted(Accepted),
    Pending(CommandId),
}

impl Proxy {
    /// Stamps, checks, publishes and waits.
    pub async fn carry_out(&self, user: &UserName, asked: Asked, command: Command) -> Result<Outcome, Problem> {
        let id = match asked.id {
            Some(id) => id,
            None => CommandId::new(format!("{user}-{:032x}", rand::random::<u128>())).map_err(Problem::internal)?,
        };
        let by = By { user: user.clone(), reason: asked.reason };
        let message = CommandMessage { id: id.clone(), by, at: SystemClock.now(), command };
        let body = precheck::check_sizes(&message)?;
        if let Some(outcome) = self.outcome(&id) {
            return outcome.map(Outcome::Accepted);
        }
        tokio::select! {
            () = self.shutdown.cancelled() => {
                return Err(Problem::unavailable(format!("this proxy stops; ask again, best with the id {id}")));
            }
            checked = self.precheck(&message) => checked?,
        }
        let topic = Topic::Command(id.clone());
        let mut woken = self.mirror.interests.register(topic.clone());
        let (noun, verb) = noun_verb(&message.command);
        self.publish(&self.bus.names().command(noun, verb), body, &id).await?;
        let until = tokio::time::Instant::now() + OUTCOME;
        loop {
            if let Some(outcome) = self.outcome(&id) {
                return outcome.map(Outcome::Accepted);
            }
            // Published: whoever stops now has no outcome, but the command has its way.
            let waited_in_vain = tokio::select! {
                () = self.shutdown.cancelled() => true,
                woken = tokio::time::timeout_at(until, woken) => woken.is_err(),
            };
            if waited_in_vain {
                self.mirror.interests.tidy(&topic);
                return match self.outcome(&id) {
                    Some(outcome) => outcome.map(Outcome::Accepted),
                    None => Ok(Outcome::Pending(id)),
                };
            }
            woken = self.mirror.interests.register(topic.clone());
        }
    }

    /// What the controller said of this id, in the last 24 h.
    fn outcome(&self, id: &CommandId) -> Option<Result<Accepted, Problem>> {
        self.mirror.read(|replica| match &replica.site.commands.by_id.get(id)?.1 {
            CommandOutcome::Accepted(accepted) => Some(Ok(accepted.clone())),
            CommandOutcome::Refused(refusal) => Some(Err(Problem::refused(refusal))),
        })
    }

    async fn publish(&self, subject: &str, body: Vec<u8>, id: &CommandId) -> Result<(), Problem> {
        let outgoing = Outgoing::new(subject, Headers::new(), body);
        let mut attempt = 1;
        loop {
            match self.bus.try_publish(&outgoing, PUBLISH).await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == BusErrorKind::TooLarge => {
                    return Err(Problem::too_large(
                        "the command",
                        outgoing.payload.len(),
                        ordo_domain::limit::COMMAND_BYTES,
                    ));
                }
                // Stored twice is harmless: the second one has the outcome of the first.
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => {
                    let message = format!(
                        "the bus does not take commands now ({error}); it may be full (`nats stream info` of COMMANDS) or without a leader. \
                         Repeat with the id {id}: it is carried out once"
                    );
                    return Err(Problem::unavailable(message));
                }
            }
        }
    }

    /// `{"workflow": …}` for one order, `{"orders": […]}` for many.
    pub async fn order_add(&self, user: &UserName, body: &[u8]) -> Result<AddOrdersReply, Problem> {
        let (orders, asked, one) = parse_add(body)?;
        let count = orders.len();
        let outcome = self.carry_out(user, asked, Command::AddOrders(AddOrders { orders })).await?;
        Ok(match outcome {
            Outcome::Pending(id) => AddOrdersReply::Pending { pending: PENDING.to_owned(), id },
            Outcome::Accepted(Accepted::Orders { orders }) if orders.len() == count => match orders.as_slice() {
                [order] if one => AddOrdersReply::One { order: order.clone(), state: self.state_of(order) },
                _ => AddOrdersReply::Many { orders },
            },
            Outcome::Accepted(other) => return Err(another(&other)),
        })
    }

    fn state_of(&self, order: &OrderId) -> String {
        let live =
            self.mirror.read(|replica| replica.site.orders.get(order).map(|order| order.state.word().to_owned()));
        live.or_else(|| self.mirror.ended(order).map(|line| line.state)).unwrap_or_else(|| "ended".to_owned())
    }

    pub async fn orders_act(&self, user: &UserName, verb: &str, body: &[u8]) -> Result<OrdersReply, Problem> {
        let request: OrdersRequest = parse(body)?;
        let OrdersRequest { orders, kill, position, asked } = request;
        if position.is_some() && verb != "resume" {
            return Err(Problem::malformed(format!("position is for resume; {verb} has none")));
        }
        let command = match verb {
            "cancel" => Command::CancelOrders(CancelOrders { orders: orders.clone(), kill, replan: false }),
            "suspend" => Command::SuspendOrders(SuspendOrders { orders: orders.clone(), kill }),
            _ if kill => return Err(Problem::malformed("kill is for cancel and suspend; resume has none")),
            _ => {
                let position = position.map(Position::new).transpose().map_err(Problem::malformed)?;
                Command::ResumeOrders(ResumeOrders { orders: orders.clone(), position })
            }
        };
        match self.carry_out(user, asked, command).await? {
            Outcome::Pending(_) => Ok(OrdersReply { orders: Vec::new(), pending: Some(PENDING.to_owned()) }),
            Outcome::Accepted(Accepted::Orders { orders: done }) if is_same(&done, &orders) => {
                Ok(OrdersReply { orders: self.lines(&orders), pending: None })
            }
            Outcome::Accepted(other) => Err(another(&other)),
        }
    }

    /// As many as one answer takes.
    fn lines(&self, orders: &[OrderId]) -> Vec<ordo_contract::request::OrderLine> {
        let now = SystemClock.now();
        let of = |order: &OrderId| {
            let live = self.mirror.read(|replica| {
                replica.site.orders.get(order).map(|order| order_query::line(&replica.site, order, now))
            });
            live.or_else(|| self.mirror.ended(order))
        };
        order_query::within_a_page(orders.iter().filter_map(of))
    }

    pub async fn agent_add(&self, user: &UserName, body: &[u8]) -> Result<serde_json::Value, Problem> {
        let AddAgentRequest { agent, title, asked } = parse(body)?;
        let (wanted, command) = (agent.clone(), Command::AddAgent(AddAgent { agent, title }));
        match self.carry_out(user, asked, command).await? {
            Outcome::Accepted(Accepted::Agent { agent }) if agent == wanted => {
                Ok(serde_json::json!({ "agent": agent }))
            }
            Outcome::Accepted(other) => Err(another(&other)),
            Outcome::Pending(id) => Ok(serde_json::json!({ "pending": PENDING, "id": id })),
        }
    }
}

/// Whether the outcome of an id is that of these orders; each of them counts once.
pub fn is_same<T: Ord>(done: &[T], asked: &[T]) -> bool {
    done.iter().collect::<BTreeSet<_>>() == asked.iter().collect::<BTreeSet<_>>()
}

/// The id was used for something else before.
pub fn another(found: &Accepted) -> Problem {
    let what = match found {
        Accepted::Orders { .. } => "other orders",
        Accepted::Deployed { .. } => "another deployment",
        Accepted::Agent { .. } => "another agent",
        Accepted::Removed { .. } => "another removal",
        Accepted::Schedules { .. } => "other schedules",
        Accepted::Noted => "notes of the daily plan",
    };
    Problem::malformed(format!("this id was used for {what} within the last 24 h; choose another"))
}

fn parse_add(body: &[u8]) -> Result<(Vec<NewOrder>, Asked, bool), Problem> {
    let value: serde_json::Value = parse(body)?;
    let serde_json::Value::Object(mut object) = value else {
        return Err(Problem::malformed(
            "expected is {\"workflow\": \"NAME\"} or {\"orders\": [{\"workflow\": \"NAME\"}]}",
        ));
    };
    let wrong = |e: serde_json::Error| {
        Problem::malformed(format!("{e}; expected is {{\"workflow\": \"NAME\", \"arguments\": {{}}, …}}"))
    };
    if object.contains_key("orders") {
        let many: AddMany = serde_json::from_value(object.into()).map_err(wrong)?;
        if many.orders.is_empty() {
            return Err(Problem::malformed("orders is empty; name at least one"));
        }
        return Ok((many.orders, many.asked, false));
    }
    let asked = object.remove("asked").map(serde_json::from_value).transpose().map_err(wrong)?.unwrap_or_default();
    let order = serde_json::from_value(object.into()).map_err(wrong)?;
    Ok((vec![order], asked, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_order_or_many_are_understood_and_a_slip_is_named() {
        let (orders, asked, one) = parse_add(br#"{"workflow":"backup","asked":{"id":"x-1"}}"#).unwrap();
        assert_eq!((orders.len(), asked.id.unwrap().as_str(), one), (1, "x-1", true));
        let (orders, _, one) = parse_add(br#"{"orders":[{"workflow":"a"},{"workflow":"b"}]}"#).unwrap();
        assert_eq!((orders.len(), one), (2, false));
        for (body, part) in [
            (&br#"{"workflw":"a"}"#[..], "workflw"),
            (br#"{"workflow":"a b"}"#, "is not a valid workflow name"),
            (br#"{"orders":[]}"#, "at least one"),
            (br#"[]"#, "expected is"),
            (br#"nonsense"#, "no JSON"),
        ] {
            let problem = parse_add(body).unwrap_err();
            assert_eq!(problem.status, 400);
            assert!(problem.body.message.contains(part), "{}", problem.body.message);
        }
    }
}
