//! Mails as people read them: what, since when, who is hit, what is due, what changed since the last good run, the end of the
//! log, one thing to do.
//!
//! Pure: facts in, text and HTML out. Whatever somebody else wrote (titles, messages, log lines) is made harmless here.
//!
//! # Layout
//! - `incident`: [`Incident`] = one notification as facts; [`Background`] = what history adds to it
//! - `subject`: the subject, and one line about an incident
//! - `compose`: a [`Page`] of facts, for each kind of mail; `digest`: many incidents in few groups
//! - `text`, `html`: two looks of a page; `message`: both as one MIME message, by `lettre`
//! - `clean`: text of others, made harmless; `time`: times and spans in words

pub mod clean;
pub mod compose;
mod digest;
mod html;
mod incident;
pub mod message;
pub mod subject;
#[cfg(test)]
mod tests;
mod text;
pub mod time;

pub use digest::{Group, group};
pub use incident::{
    AgentFacts, Background, ControllerFacts, Incident, LastGood, LogFacts, LogTail, Object, OrderFacts, RoleFacts,
};

use chrono_tz::Tz;

/// From whom, and in which zone times are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desk {
    pub site: String,
    pub zone: Tz,
}

impl Desk {
    /// What is typed before the noun of a command: the site where it is not the default one.
    pub fn command(&self, rest: &str) -> String {
        if self.site == "default" { format!("ordo {rest}") } else { format!("ordo --site {} {rest}", self.site) }
    }
}

/// How bad it is: a colour, a glyph and a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Bad,
    Warning,
    Good,
    Plain,
}

/// What a mail shows, from top to bottom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub subject: String,
    pub tone: Tone,
    /// The first line: what is, since when. Lists of mails show its beginning.
    pub lead: String,
    /// What it is about, as people call it.
    pub heading: String,
    /// Under the heading: what happened, in words.
    pub summary: String,
    pub facts: Vec<Fact>,
    /// Many incidents, the odd ones first.
    pub groups: Vec<Group>,
    pub log: Option<LogTail>,
    pub action: Option<Action>,
    /// Small print: which rule, which notification, how to acknowledge.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub label: &'static str,
    pub value: String,
    /// An id: shown in letters of one width.
    pub is_id: bool,
}

/// The one thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub what: String,
    pub command: String,
}

impl Page {
    pub fn text(&self) -> String {
        text::render(self)
    }

    pub fn html(&self) -> String {
        html::render(self)
    }
}
