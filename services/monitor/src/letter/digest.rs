//! Many incidents in few groups. Every one is named; what is odd comes first, so that one failed order in a flood of a
//! thousand others is on the first screen.

use super::{Desk, Incident, Object, clean, subject};
use std::collections::BTreeMap;

/// Incidents that have the same to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `999 × flood: work failed: exit code 1`
    pub heading: String,
    pub count: usize,
    /// The names of all: order ids, or what stands for them.
    pub names: Vec<String>,
}

/// Rare ones first, then as they happened. Numbers in messages do not make them different.
pub fn group(desk: &Desk, incidents: &[Incident]) -> Vec<Group> {
    let mut groups: BTreeMap<String, (usize, Vec<&Incident>)> = BTreeMap::new();
    for (n, incident) in incidents.iter().enumerate() {
        let key = without_numbers(&line(desk, incident));
        groups.entry(key).or_insert_with(|| (n, Vec::new())).1.push(incident);
    }
    let mut groups: Vec<(usize, Vec<&Incident>)> = groups.into_values().collect();
    groups.sort_by_key(|(first, members)| (members.len(), *first));
    groups.into_iter().map(|(_, members)| of(desk, &members)).collect()
}

fn of(desk: &Desk, members: &[&Incident]) -> Group {
    let first = members.first().map(|i| line(desk, i)).unwrap_or_default();
    let recovered = members.iter().filter(|i| i.recovered_at.is_some()).count();
    let recovered = match recovered {
        0 => String::new(),
        n if n == members.len() => " (recovered)".to_owned(),
        n => format!(" ({n} recovered)"),
    };
    let heading = format!("{} × {}{recovered}", members.len(), clean::short(&first, 160));
    let names = members.iter().map(|incident| name(incident)).collect();
    Group { heading, count: members.len(), names }
}

/// `nightly-sales: load failed in loads:west: exit code 75`
fn line(desk: &Desk, incident: &Incident) -> String {
    let what = subject::what(desk, incident);
    match &incident.object {
        Object::Order(order) if order.said || incident.text.is_empty() || what.ends_with(&incident.text) => {
            format!("{}: {what}", order.workflow)
        }
        Object::Order(order) => format!("{}: {what}: {}", order.workflow, clean::line(&incident.text)),
        _ => what,
    }
}

fn name(incident: &Incident) -> String {
    match &incident.object {
        Object::Order(order) => order.order.clone().unwrap_or_else(|| incident.id.clone()),
        _ => incident.id.clone(),
    }
}

fn without_numbers(text: &str) -> String {
    let mut key = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii_digit() {
            key.push(c);
        } else if !key.ends_with('#') {
            key.push('#');
        }
    }
    key
}
