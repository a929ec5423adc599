//! New orders: all of a command or none, in parts where they are many.

use super::{
    command::{AddOrders, NewOrder, StartKey},
    event::{OrderAdded, WorkflowRef},
};
use crate::{
    Ctx, Event, OrderId, Refusal, Site, WorkflowName,
    command::{Accepted, By},
    ctx::LoadedWorkflow,
    decide::at_most,
    expression::OrderFacts,
    id::CommandId,
    limit,
    site::DeployedWorkflow,
    workflow::arguments,
};
use chrono::{Datelike, NaiveDate};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

/// What an event has besides what the command says: ids, hash, names.
const EVENT_OVERHEAD: usize = 550;
/// What one `${ }` of a default is taken to become.
const RENDERED: usize = 200;

/// The orders of each part, by the command and the definitions that it names alone.
pub(crate) fn cuts(site: &Site, command: &AddOrders, ctx: Ctx) -> Vec<Range<usize>> {
    let mut defaults: BTreeMap<&WorkflowName, usize> = BTreeMap::new();
    let (mut cuts, mut start, mut bytes) = (vec![], 0, 0);
    for (i, order) in command.orders.iter().enumerate() {
        let of_workflow = *defaults.entry(&order.workflow).or_insert_with(|| default_bytes(site, &order.workflow, ctx));
        let size = limit::json_bytes(order) + of_workflow + EVENT_OVERHEAD;
        if i > start && (bytes + size > limit::PART_BYTES || i - start >= limit::ORDERS_PER_PART) {
            cuts.push(start..i);
            (start, bytes) = (i, 0);
        }
        bytes += size;
    }
    cuts.push(start..command.orders.len());
    cuts
}

fn default_bytes(site: &Site, name: &WorkflowName, ctx: Ctx) -> usize {
    let Some(loaded) = site.workflows.get(name).and_then(|w| ctx.definitions.workflow(&w.hash)) else { return 0 };
    let workflow = &loaded.workflow;
    let values = workflow.parameters.values().filter_map(|p| p.default.as_ref());
    let texts = serde_json::to_string(&values.collect::<Vec<_>>()).unwrap_or_default();
    let titles = limit::json_bytes(&(&workflow.title, &workflow.folder, &workflow.tags));
    texts.len() + RENDERED * texts.matches("${").count() + titles
}

/// What is known while the orders of one command get their ids.
struct Adder<'a> {
    site: &'a Site,
    by: &'a By,
    ctx: Ctx<'a>,
    today: NaiveDate,
    counters: BTreeMap<NaiveDate, u64>,
    starts: BTreeMap<&'a StartKey, OrderId>,
}

pub(crate) fn add(
    site: &Site,
    id: &CommandId,
    by: &By,
    command: &AddOrders,
    part: u32,
    ctx: Ctx,
) -> Result<(Vec<Event>, Accepted), Refusal> {
    if command.orders.is_empty() {
        return Err(Refusal::Empty { what: "the list of orders".into() });
    }
    let (count, limit) = (command.orders.len() as u64, limit::ORDERS_PER_COMMAND as u64);
    if count > limit {
        return Err(Refusal::TooMany { what: "orders in one command".into(), count, limit });
    }
    let cuts = cuts(site, command, ctx);
    let cut = cuts.get(part.saturating_sub(1) as usize).cloned().unwrap_or_default();
    let earlier = earlier(site, id, cut.start)?;
    let today = today(command, earlier).unwrap_or_else(|| ctx.now.with_timezone(&ctx.zone).date_naive());
    let mut adder = Adder { site, by, ctx, today, counters: BTreeMap::new(), starts: BTreeMap::new() };
    // Part 1 checks the orders of all parts.
    let checked = if part <= 1 { 0..command.orders.len() } else { cut.clone() };
    let mut added: Vec<OrderAdded> =
        command.orders[checked].iter().map(|new| adder.add(new)).collect::<Result<_, _>>()?;
    added.truncate(cut.len());
    let orders = earlier.iter().cloned().chain(added.iter().map(|a| a.order.clone())).collect();
    if cuts.len() > 1 {
        added.iter_mut().for_each(|a| a.command = Some(id.clone()));
    }
    Ok((added.into_iter().map(Event::from).collect(), Accepted::Orders { orders }))
}

/// The orders that the earlier parts have added.
fn earlier<'a>(site: &'a Site, id: &CommandId, wanted: usize) -> Result<&'a [OrderId], Refusal> {
    let known = site.adding.as_ref().filter(|a| a.command == *id).map_or(&[][..], |a| &a.orders);
    if known.len() != wanted {
        let reason = format!("{wanted} orders should have been added by its earlier parts, not {}", known.len());
        return Err(Refusal::Failed { reason });
    }
    Ok(known)
}

/// What was today when the first part was decided, where one of its orders shows it.
fn today(command: &AddOrders, earlier: &[OrderId]) -> Option<NaiveDate> {
    let (_, order) = command.orders.iter().zip(earlier).find(|(new, _)| new.business_day.is_none())?;
    NaiveDate::parse_from_str(order.as_str().get(..8)?, "%Y%m%d").ok()
}

impl<'a> Adder<'a> {
    fn add(&mut self, new: &'a NewOrder) -> Result<OrderAdded, Refusal> {
        let deployed = self.site.workflows.get(&new.workflow);
        let deployed = deployed.ok_or_else(|| Refusal::WorkflowUnknown { workflow: new.workflow.clone() })?;
        let loaded = self.load(new, deployed)?;
        let workflow = &loaded.workflow;
        let business_day = new.business_day.unwrap_or(self.today);
        check_date("business day", business_day)?;
        if let Some(due) = new.due_at {
            check_date("due time", due.date_naive())?;
        }
        let (order, counter) = self.next_id(new, business_day)?;
        if let Some(start) = &new.start {
            self.check_start(start)?;
            self.starts.insert(start, order.clone());
        }
        let title = new.title.clone().or_else(|| workflow.title.clone());
        at_most("title", title.as_deref(), limit::TITLE_BYTES)?;
        let tags = tags(new, &workflow.tags)?;
        let facts = OrderFacts {
            id: order.as_str(),
            workflow: workflow.name.as_str(),
            title: title.as_deref().unwrap_or(workflow.name.as_str()),
            business_day,
            attempt: 1,
        };
        let arguments = arguments::complete(workflow, &new.arguments, facts)?;
        Ok(OrderAdded {
            workflow: WorkflowRef {
                name: new.workflow.clone(),
                version: deployed.version,
                hash: deployed.hash.clone(),
            },
            title,
            folder: workflow.folder.clone(),
            tags,
            business_day,
            priority: new.priority.unwrap_or(workflow.priority),
            due_at: new.due_at,
            held: new.held,
            late: new.late.unwrap_or(workflow.late),
            arguments,
            start: new.start.clone(),
            overlap: new.overlap,
            by: self.by.clone(),
            counter,
            command: None,
            order,
        })
    }

    fn load(&self, new: &NewOrder, deployed: &DeployedWorkflow) -> Result<Arc<LoadedWorkflow>, Refusal> {
        self.ctx.definitions.workflow(&deployed.hash).ok_or_else(|| Refusal::DefinitionInvalid {
            definition: format!("workflow {}", new.workflow),
            reason: format!("the body of version {} is missing or broken; deploy it again", deployed.version),
        })
    }

    fn next_id(&mut self, new: &NewOrder, day: NaiveDate) -> Result<(OrderId, u64), Refusal> {
        let name = match &new.name {
            // The same rule.
            Some(name) => WorkflowName::new(name).map_err(|e| Refusal::InvalidId {
                what: "order name".into(),
                text: e.text,
                rule: e.rule.into(),
            })?,
            None => new.workflow.clone(),
        };
        let known = self.site.counters.get(&day).copied().unwrap_or(0);
        let counter = self.counters.entry(day).or_insert(known);
        *counter += 1;
        // P: planned; D: added directly.
        let letter = if new.start.is_some() { 'P' } else { 'D' };
        let id = OrderId::new(format!("{}-{letter}{counter}-{name}", day.format("%Y%m%d")))?;
        Ok((id, *counter))
    }

    fn check_start(&self, start: &StartKey) -> Result<(), Refusal> {
        at_most("schedule name", Some(&start.schedule), limit::TAG_BYTES)?;
        at_most("parameterisation name", Some(&start.parameterisation), limit::TAG_BYTES)?;
        check_date("time of the planned start", start.instant.date_naive())?;
        let (schedule, instant) = (start.schedule.clone(), start.instant.to_rfc3339());
        if let Some(order) = self.site.starts.known.get(start).or_else(|| self.starts.get(start)) {
            return Err(Refusal::StartKnown { schedule, instant, order: order.clone() });
        }
        match self.site.starts.watermarks.get(&start.schedule) {
            Some(watermark) if start.instant < *watermark => {
                Err(Refusal::StartBelowWatermark { schedule, instant, watermark: watermark.to_rfc3339() })
            }
            _ => Ok(()),
        }
    }
}

/// What can be written in an id and read again.
fn check_date(what: &str, day: NaiveDate) -> Result<(), Refusal> {
    if (1970..=9999).contains(&day.year()) {
        return Ok(());
    }
    let rule = "a date from 1970-01-01 to 9999-12-31".into();
    Err(Refusal::InvalidId { what: what.into(), text: day.to_string(), rule })
}

fn tags(new: &NewOrder, of_workflow: &BTreeSet<String>) -> Result<BTreeSet<String>, Refusal> {
    let tags: BTreeSet<String> = of_workflow.union(&new.tags).cloned().collect();
    if tags.len() > limit::TAGS {
        let (count, limit) = (tags.len() as u64, limit::TAGS as u64);
        return Err(Refusal::TooMany { what: "tags of an order".into(), count, limit });
    }
    for tag in &tags {
        at_most("tag", Some(tag), limit::TAG_BYTES)?;
        if tag.is_empty() {
            return Err(Refusal::Empty { what: "a tag".into() });
        }
    }
    Ok(tags)
}
