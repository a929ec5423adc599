//! Rules made ready for many lines a second: what is cheap is asked first, patterns are compiled once.

use super::{LogRule, Severity, wildcard::fits};
use crate::DefinitionName;
use regex::{Regex, RegexBuilder};

/// Longest pattern of a text, in bytes.
pub const PATTERN_BYTES: usize = 1024;
/// What a compiled pattern may take, in bytes: `(a{1000}){1000}` is short and large.
const COMPILED_BYTES: usize = 1024 * 1024;

/// What is known of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    pub severity: Severity,
    pub application: &'a str,
    pub host: &'a str,
    pub text: &'a str,
}

/// A pattern that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct WrongPattern {
    pub reason: String,
}

/// A regular expression for texts from outside: matching takes time in proportion to the text, whatever is in it.
#[derive(Debug, Clone)]
pub struct TextPattern(Regex);

impl TextPattern {
    pub fn new(pattern: &str) -> Result<Self, WrongPattern> {
        let wrong = |reason: String| WrongPattern { reason };
        if pattern.len() > PATTERN_BYTES {
            return Err(wrong(format!("it is {} bytes; the limit is {PATTERN_BYTES}", pattern.len())));
        }
        let compiled = RegexBuilder::new(pattern).size_limit(COMPILED_BYTES).dfa_size_limit(COMPILED_BYTES).build();
        compiled.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => wrong("it is too large when compiled; take a simpler one".into()),
            // The last line says what is wrong, those before it draw where.
            error => {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                wrong(last.strip_prefix("error: ").unwrap_or(last).to_owned())
            }
        })
    }

    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

#[derive(Debug, Clone)]
struct Ready {
    rule: LogRule,
    text: Option<TextPattern>,
    exclude: Option<TextPattern>,
}

impl Ready {
    fn new(rule: LogRule) -> Result<Self, (DefinitionName, WrongPattern)> {
        let pattern = |text: &Option<String>| text.as_deref().map(TextPattern::new).transpose();
        let found = pattern(&rule.text).and_then(|text| Ok((text, pattern(&rule.exclude)?)));
        match found {
            Ok((text, exclude)) => Ok(Self { rule, text, exclude }),
            Err(wrong) => Err((rule.name, wrong)),
        }
    }

    fn fits(&self, line: Line<'_>) -> bool {
        let one_of = |patterns: &[String], name| patterns.is_empty() || patterns.iter().any(|p| fits(p, name));
        self.rule.severity.is_none_or(|least| line.severity.is_at_least(least))
            && one_of(&self.rule.applications, line.application)
            && one_of(&self.rule.hosts, line.host)
            && self.text.as_ref().is_none_or(|pattern| pattern.is_in(line.text))
            && !self.exclude.as_ref().is_some_and(|pattern| pattern.is_in(line.text))
    }
}

/// Rules, ready for matching.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    rules: Vec<Ready>,
}

impl RuleSet {
    /// The rules that can be used, by name, with [`LogRule::of_ordo`] unless there is one of its name; and those that
    /// cannot be used: written by another version.
    pub fn new(rules: impl IntoIterator<Item = LogRule>) -> (Self, Vec<(DefinitionName, WrongPattern)>) {
        let mut set = Self::default();
        let mut wrong = Vec::new();
        let mut all: Vec<LogRule> = rules.into_iter().collect();
        if let Some(own) = LogRule::of_ordo()
            && all.iter().all(|rule| rule.name != own.name)
        {
            all.push(own);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        for rule in all {
            match Ready::new(rule) {
                Ok(ready) => set.rules.push(ready),
                Err(broken) => wrong.push(broken),
            }
        }
        (set, wrong)
    }

    /// The rules that the line fits, by name.
    pub fn of<'a>(&'a self, line: Line<'a>) -> impl Iterator<Item = &'a LogRule> {
        self.rules.iter().filter(move |ready| ready.fits(line)).map(|ready| &ready.rule)
    }

    pub fn has_one_for(&self, line: Line<'_>) -> bool {
        self.rules.iter().any(|ready| ready.fits(line))
    }

    pub fn rule(&self, name: &DefinitionName) -> Option<&LogRule> {
        self.rules.iter().find(|ready| ready.rule.name == *name).map(|ready| &ready.rule)
    }

    pub fn names(&self) -> impl Iterator<Item = &DefinitionName> {
        self.rules.iter().map(|ready| &ready.rule.name)
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}
