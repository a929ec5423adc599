//! Which orders and agents a rule or a window is about.

use crate::catalog::References;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The longest pattern, in bytes.
pub const PATTERN_BYTES: usize = 255;

/// A name, or several by `*`, which stands for any run of characters: `nightly-*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", description = "a name; * stands for any run of characters, also none")]
pub struct Pattern(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a pattern: 1 to {PATTERN_BYTES} bytes without control characters")]
pub struct InvalidPattern {
    pub text: String,
}

impl Pattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is one that is meant. Letters count as they are, upper or lower case.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where the last star was, and what of the name it stood for so far: only that star is ever tried anew.
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            if pattern.get(p) == Some(&b'*') {
                star = Some((p, n));
                p += 1;
            } else if pattern.get(p) == Some(&name[n]) {
                p += 1;
                n += 1;
            } else if let Some((at, taken)) = star {
                p = at + 1;
                n = taken + 1;
                star = Some((at, n));
            } else {
                return false;
            }
        }
        pattern[p..].iter().all(|b| *b == b'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;
    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let good = (1..=PATTERN_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        let invalid = || InvalidPattern { text: text.chars().take(60).collect() };
        good.then(|| Self(text.to_owned())).ok_or_else(invalid)
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;
    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0
    }
}

/// Each list that is given must match; nothing given means everything. What has no workflow (an agent, a role) never
/// matches where workflows, tags or folders are named, and what ran on no agent never where agents are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Scope {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workflows: Vec<Pattern>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Pattern>,
    /// `finance` is that folder and all below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<Pattern>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<Pattern>,
}

/// What something happened to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject<'a> {
    /// Of an order.
    pub workflow: Option<&'a str>,
    pub folder: Option<&'a str>,
    pub tags: Vec<&'a str>,
    /// The agent itself, or the one on which the order's run failed.
    pub agent: Option<&'a str>,
}

impl<'a> Subject<'a> {
    pub fn order(workflow: &'a str, folder: Option<&'a str>, tags: impl IntoIterator<Item = &'a String>) -> Self {
        let tags = tags.into_iter().map(String::as_str).collect();
        Self { workflow: Some(workflow), folder, tags, agent: None }
    }

    pub fn agent(agent: &'a str) -> Self {
        Self { agent: Some(agent), ..Self::default() }
    }
}

impl Scope {
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    pub fn covers(&self, subject: &Subject<'_>) -> bool {
        any(&self.workflows, subject.workflow)
            && any(&self.agents, subject.agent)
            && any(&self.tags, subject.tags.iter().copied())
            && any(&self.folders, subject.folder.into_iter().flat_map(with_parents))
    }

    /// Names orders in some way.
    pub fn names_orders(&self) -> bool {
        !(self.workflows.is_empty() && self.tags.is_empty() && self.folders.is_empty())
    }

    /// What is named without a star.
    pub fn references(&self) -> References {
        let named = |list: &'_ [Pattern]| -> Vec<String> {
            list.iter().filter(|p| !p.0.contains('*')).map(|p| p.0.clone()).collect()
        };
        References {
            workflows: named(&self.workflows).into_iter().filter_map(|name| name.try_into().ok()).collect(),
            agents: named(&self.agents).into_iter().filter_map(|name| name.try_into().ok()).collect(),
        }
    }
}

/// No list is no condition.
fn any<'a>(patterns: &[Pattern], names: impl IntoIterator<Item = &'a str>) -> bool {
    patterns.is_empty() || names.into_iter().any(|name| patterns.iter().any(|pattern| pattern.matches(name)))
}

/// `finance/sales` and `finance`.
fn with_parents(folder: &str) -> impl Iterator<Item = &str> {
    let ends = folder.match_indices('/').map(|(i, _)| i).chain(std::iter::once(folder.len()));
    ends.map(|end| &folder[..end])
}
