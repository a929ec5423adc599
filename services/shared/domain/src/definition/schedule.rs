//! The file of a schedule.

use super::{
    file_schedule,
    item::{ArgumentUse, CallUse},
    read::Reader,
    yaml::{Content, Node},
};
use crate::{
    Arguments, ParameterisationName, Span, VariableName, WorkflowName, limit,
    plan::{
        Cron, InvalidCron, MAX_STARTS, PLAN_AHEAD, Parameterisation, Rule, SUBMIT_AHEAD, Schedule, TimeOfDay,
        TimesOfDay, Validity, Weekdays,
    },
};
use chrono::{Datelike, NaiveDate};
use std::collections::{BTreeMap, BTreeSet};

/// Of rules, and of orders of each start.
const ENTRIES: usize = 100;
/// One for each minute of a day.
const TIMES: usize = 1_440;
const DAYS: usize = 2_000;
const MOST_STARTS: u32 = 100_000;
/// Starts are known to the controller for a month: what lies further ahead is planned, never submitted.
const PLANNED: (Span, Span) = (Span::from_secs(10), Span::from_secs(400 * 86_400));
const SUBMITTED: (Span, Span) = (Span::from_secs(1), Span::from_secs(31 * 86_400));

impl Reader<'_, '_> {
    pub(super) fn schedule(&mut self, node: &Node) -> Option<Schedule> {
        let mut fields = self.fields::<file_schedule::ScheduleFile>(node, "a schedule");
        let name = self.name(&mut fields, "schedule");
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        let called = self.required(&mut fields, "workflow", "add workflow: NAME, whose orders it starts");
        let workflow: Option<WorkflowName> = called.and_then(|n| self.id(n, "workflow"));
        let zone = self.get(&mut fields, "zone").and_then(|n| self.zone(n));
        let times = self.required(
            &mut fields,
            "times",
            "add times: with a line `- cron: \"0 2 * * *\"` or `- at: [\"02:00\"]`",
        );
        let times = times.map(|n| self.times(n)).unwrap_or_default();
        let except = self.get(&mut fields, "except").map(|n| self.days(n)).unwrap_or_default();
        let valid = self.get(&mut fields, "valid").map(|n| self.validity(n)).unwrap_or_default();
        let late = self.get(&mut fields, "late").map(|n| self.late(n));
        let overlap =
            self.get(&mut fields, "overlap").and_then(|n| self.word(n, "overlap", &["start", "skip", "wait"]));
        let planned = self.get(&mut fields, "plan_ahead").and_then(|n| self.ahead(n, "plan_ahead", PLANNED));
        let plan_ahead = planned.unwrap_or(PLAN_AHEAD);
        let submitted = self.get(&mut fields, "submit_ahead");
        let submit_ahead = submitted.and_then(|n| self.ahead(n, "submit_ahead", SUBMITTED));
        if let (Some(node), Some(submit_ahead)) = (submitted, submit_ahead.filter(|ahead| *ahead > plan_ahead)) {
            let message = format!("submit_ahead is {submit_ahead}, longer than plan_ahead, which is {plan_ahead}");
            self.problems.help(&node.at, message, "only what is planned can be submitted");
        }
        let most = self.get(&mut fields, "max_starts");
        let max_starts = most.and_then(|n| self.whole(n, "max_starts", 1..=MOST_STARTS)).unwrap_or(MAX_STARTS);
        let orders = self.get(&mut fields, "orders");
        let orders = match (orders, called.zip(workflow.as_ref())) {
            (Some(node), called) => self.parameterisations(node, called),
            (None, called) => self.default_parameterisation(called),
        };
        if let Some(node) = most.filter(|_| orders.len() > max_starts as usize) {
            let message = format!("max_starts is {max_starts}, but each start has {} orders", orders.len());
            self.problems.help(&node.at, message, "all orders of one start belong together");
        }
        self.done(fields);
        Some(Schedule {
            name: name?,
            title,
            workflow: workflow?,
            zone,
            times,
            except,
            valid,
            late,
            overlap: overlap.unwrap_or_default(),
            plan_ahead,
            submit_ahead: submit_ahead.unwrap_or_else(|| SUBMIT_AHEAD.min(plan_ahead)),
            max_starts,
            orders,
        })
    }

    fn ahead(&mut self, node: &Node, what: &str, (least, most): (Span, Span)) -> Option<Span> {
        let span = self.span(node, what)?;
        if !(least..=most).contains(&span) {
            self.problems.add(&node.at, format!("{what} is {span}; it may be {least} to {most}"));
            return None;
        }
        Some(span)
    }

    fn times(&mut self, node: &Node) -> Vec<Rule> {
        let items = self.list(node, "times");
        if items.is_empty() && matches!(node.content, Content::List(_)) {
            self.problems.help(&node.at, "times is empty: nothing would start", "add a line `- cron: \"0 2 * * *\"`");
        }
        if items.len() > ENTRIES {
            self.problems.add(&node.at, format!("{} rules in times; the limit is {ENTRIES}", items.len()));
        }
        items.iter().filter_map(|item| self.rule_of_times(item)).collect()
    }

    fn rule_of_times(&mut self, node: &Node) -> Option<Rule> {
        let mut fields = self.fields::<file_schedule::TimesFile>(node, "an entry of times");
        let (cron, at) = (self.get(&mut fields, "cron"), self.get(&mut fields, "at"));
        let weekdays = self.get(&mut fields, "weekdays");
        let rule = match (cron, at) {
            (Some(_), Some(at)) => {
                let help = "make two entries of it: each starts by itself";
                self.problems.help(&at.at, "an entry has cron or at, not both", help);
                None
            }
            (Some(cron), None) => {
                if let Some(weekdays) = weekdays {
                    let help = "write them as the fifth field of the expression, such as 1-5";
                    self.problems.help(&weekdays.at, "weekdays belong to at, not to cron", help);
                }
                self.cron(cron).map(Rule::Cron)
            }
            (None, Some(at)) => {
                let weekdays = weekdays.map_or_else(Weekdays::default, |n| self.days_of_week(n));
                Some(Rule::At(TimesOfDay { times: self.times_of_day(at), weekdays }))
            }
            (None, None) => {
                if fields.entries.keys().all(|key| !matches!(*key, "cron" | "at")) {
                    let at = fields.at();
                    self.problems.help(&at, "an entry of times without a time", "add cron: or at:");
                }
                None
            }
        };
        self.done(fields);
        rule
    }

    fn cron(&mut self, node: &Node) -> Option<Cron> {
        let text = self.text(node, "cron")?;
        match text.parse() {
            Ok(cron) => Some(cron),
            Err(InvalidCron { at, message, help }) => {
                let place = self.problems.within(node, at.start, at.len());
                match help {
                    Some(help) => self.problems.help(&place, message, help),
                    None => self.problems.add(&place, message),
                }
                None
            }
        }
    }

    fn times_of_day(&mut self, node: &Node) -> BTreeSet<TimeOfDay> {
        let items = self.list(node, "at");
        if items.is_empty() && matches!(node.content, Content::List(_)) {
            self.problems.help(&node.at, "at is empty", "write times of day, such as [\"06:00\"]");
        }
        if items.len() > TIMES {
            self.problems.add(&node.at, format!("{} times of day; the limit is {TIMES}", items.len()));
        }
        let mut times = BTreeSet::new();
        for item in items {
            let Some(text) = self.text(item, "a time of day") else { continue };
            match text.parse() {
                Ok(time) => drop(times.insert(time)),
                Err(_) => {
                    let help = "write hours and minutes such as 06:00, or with seconds 18:30:15";
                    self.problems.help(&item.at, format!("{text:?} is not a time of day"), help);
                }
            }
        }
        times
    }

    fn days_of_week(&mut self, node: &Node) -> Weekdays {
        let items = self.list(node, "weekdays");
        if items.is_empty() && matches!(node.content, Content::List(_)) {
            self.problems.help(&node.at, "weekdays is empty: nothing would start", "leave it out for every day");
        }
        let mut days = Weekdays::NONE;
        for item in items {
            let Some(text) = self.text(item, "a weekday") else { continue };
            match Weekdays::parse(text) {
                Some(more) => days = days.with(more),
                None => {
                    let help = "mon, tue, wed, thu, fri, sat, sun, or a range such as mon-fri";
                    self.problems.help(&item.at, format!("{text:?} is not a weekday"), help);
                }
            }
        }
        days
    }

    fn days(&mut self, node: &Node) -> BTreeSet<NaiveDate> {
        let items = self.list(node, "except");
        if items.len() > DAYS {
            self.problems.add(&node.at, format!("{} days; the limit is {DAYS}", items.len()));
        }
        items.iter().filter_map(|item| self.day(item)).collect()
    }

    fn day(&mut self, node: &Node) -> Option<NaiveDate> {
        let text = self.text(node, "a date")?;
        let day = text.trim().parse::<NaiveDate>().ok().filter(|day| (1970..=9999).contains(&day.year()));
        if day.is_none() {
            self.problems.help(&node.at, format!("{text:?} is not a date"), "write year-month-day, such as 2026-12-25");
        }
        day
    }

    fn validity(&mut self, node: &Node) -> Validity {
        let mut fields = self.fields::<file_schedule::ValidFile>(node, "valid");
        let from = self.get(&mut fields, "from").and_then(|n| self.day(n));
        let last = self.get(&mut fields, "to");
        let to = last.and_then(|n| self.day(n));
        if let (Some(from), Some(to), Some(node)) = (from, to, last)
            && from > to
        {
            self.problems.add(&node.at, format!("valid to {to}, before it begins on {from}"));
        }
        self.done(fields);
        Validity { from, to }
    }

    fn default_parameterisation(&mut self, called: Option<(&Node, &WorkflowName)>) -> Vec<Parameterisation> {
        if let Some((place, workflow)) = called {
            self.starts(place, workflow, "an order under `orders:`".to_owned(), BTreeMap::new());
        }
        let name = ParameterisationName::new(Parameterisation::DEFAULT).into_iter();
        let of = |name| Parameterisation {
            name,
            title: None,
            arguments: Arguments::new(),
            tags: BTreeSet::new(),
            priority: None,
        };
        name.map(of).collect()
    }

    fn parameterisations(&mut self, node: &Node, called: Option<(&Node, &WorkflowName)>) -> Vec<Parameterisation> {
        let items = self.list(node, "orders");
        if items.is_empty() && matches!(node.content, Content::List(_)) {
            self.problems.help(
                &node.at,
                "orders is empty: nothing would start",
                "leave it out for one without arguments",
            );
        }
        if items.len() > ENTRIES {
            self.problems.add(&node.at, format!("{} orders; the limit is {ENTRIES}", items.len()));
        }
        let mut names = BTreeSet::new();
        let mut orders = Vec::with_capacity(items.len());
        for item in items {
            let Some((place, order)) = self.parameterisation(item, called.map(|(_, workflow)| workflow)) else {
                continue;
            };
            if names.insert(order.name.clone()) {
                orders.push(order);
            } else {
                let help = "each start is known by the name of its order";
                self.problems.help(&place.at, format!("the order {} is there twice", order.name), help);
            }
        }
        orders
    }

    fn parameterisation<'n>(
        &mut self,
        node: &'n Node,
        workflow: Option<&WorkflowName>,
    ) -> Option<(&'n Node, Parameterisation)> {
        let mut fields = self.fields::<file_schedule::OrderFile>(node, "an order");
        let named = self.required(&mut fields, "name", "add name: NAME, which tells it from the others");
        let name: Option<ParameterisationName> = named.and_then(|n| self.id(n, "name"));
        let title = self.get(&mut fields, "title").and_then(|n| self.short_text(n, "title", limit::TITLE_BYTES));
        let given = self.get(&mut fields, "arguments");
        let (arguments, uses) = given.map(|n| self.order_arguments(n)).unwrap_or_default();
        let tags = self.get(&mut fields, "tags").map(|n| self.tags(n)).unwrap_or_default();
        let priority = self.get(&mut fields, "priority").and_then(|n| self.whole(n, "priority", i16::MIN..=i16::MAX));
        self.done(fields);
        let (named, name) = (named?, name?);
        if let Some(workflow) = workflow {
            self.starts(named, workflow, format!("order {name}"), uses);
        }
        Some((named, Parameterisation { name, title, arguments, tags, priority }))
    }

    fn order_arguments(&mut self, node: &Node) -> (Arguments, BTreeMap<VariableName, ArgumentUse>) {
        let (mut arguments, mut uses) = (Arguments::new(), BTreeMap::new());
        for (_, key, value) in self.entries(node, "arguments") {
            let Some(name) = self.id::<VariableName>(key, "a parameter") else { continue };
            self.no_template(value);
            let Some((read, kind)) = self.value(value, "an argument") else { continue };
            let (key, place) = (self.problems.place(&key.at), self.problems.place(&value.at));
            uses.insert(name.clone(), ArgumentUse { name: key, place, kind, value: read.clone() });
            arguments.insert(name, read);
        }
        let bytes = limit::json_bytes(&arguments);
        if bytes > limit::ORDER_VARIABLES_BYTES {
            let message = format!("the arguments are {bytes} bytes; the limit is {}", limit::ORDER_VARIABLES_BYTES);
            self.problems.add(&node.at, message);
        }
        (arguments, uses)
    }

    /// What an order is given, is taken as it is.
    fn no_template(&mut self, node: &Node) {
        match &node.content {
            Content::Text(text) => {
                if let Some(at) = text.find("${") {
                    let length = text[at..].find('}').map_or(2, |n| n + 1);
                    let place = self.problems.within(node, at, length);
                    let help = "give the workflow's parameter a default with it, such as \"${ order.business_day }\"";
                    self.problems.help(&place, "nothing is filled in here", help);
                }
            }
            Content::List(items) => items.iter().for_each(|item| self.no_template(item)),
            Content::Map(entries) => entries.iter().for_each(|(_, value)| self.no_template(value)),
            Content::Null | Content::Boolean(..) | Content::Number(..) => {}
        }
    }

    /// Notes what must fit the workflow.
    fn starts(
        &mut self,
        at: &Node,
        workflow: &WorkflowName,
        by: String,
        arguments: BTreeMap<VariableName, ArgumentUse>,
    ) {
        let place = self.problems.place(&at.at);
        self.uses.calls.push(CallUse { by, workflow: workflow.clone(), place, arguments });
    }
}
