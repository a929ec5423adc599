//! Names and ids as newtypes. Each checks its shape where it enters, so that nothing inside needs to.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// A text that is not a valid name or id: what it was to be, the text, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {what}: {rule}")]
pub struct InvalidId {
    pub what: &'static str,
    pub text: String,
    pub rule: &'static str,
}

fn all(text: &str, min: usize, max: usize, ok: impl Fn(u8) -> bool) -> bool {
    (min..=max).contains(&text.len()) && text.bytes().all(ok)
}

fn plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
        #[schemars(with = "String", description = $rule)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text against the rule of this id.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let text = text.as_ref();
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.into()))
                } else {
                    let text = text.chars().take(130).collect();
                    Err(InvalidId { what: $what, text, rule: $rule })
                }
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        // By hand: a journal has millions of them, and the derived way makes a String of each.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a ", $what, ": ", $rule))
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(E::custom)
                    }
                }
                d.deserialize_str(Text)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.to_string()
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        id!($(#[$doc])* $name, $what, "1 to 40 of A-Z a-z 0-9 _ -", |t| all(t, 1, 40, plain));
    };
}

id!(
    /// One logical scheduler; the only address anybody uses.
    SiteId, "site", "1 to 20 of a-z 0-9", |t| all(t, 1, 20, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
);
name_id!(WorkflowName, "workflow name");
name_id!(AgentName, "agent name");
name_id!(
    /// One process of a role; persists over restarts.
    InstanceId, "instance id"
);
name_id!(NodeName, "node name");
name_id!(UserName, "user name");
name_id!(LockName, "lock name");
name_id!(
    /// Of a schedule, a rule, or what else services act by.
    DefinitionName, "definition name"
);
name_id!(
    /// Of an order of a schedule.
    ParameterisationName, "order name"
);
name_id!(
    /// The stable name of a step, unique in its workflow.
    Label, "label"
);
name_id!(BranchName, "branch name");
id!(
    /// A variable that expressions can name.
    VariableName, "parameter name", "a letter or _, then up to 39 of A-Z a-z 0-9 _", |t| all(t, 1, 40, |b| b.is_ascii_alphanumeric() || b == b'_')
        && !t.as_bytes()[0].is_ascii_digit()
);
id!(
    /// A file in the agent's secrets folder.
    SecretName, "secret name", "1 to 80 of A-Z a-z 0-9 _ - . (no leading dot)", |t| all(t, 1, 80, |b| plain(b) || b == b'.') && !t.starts_with('.')
);
id!(
    /// `<yyyymmdd>-<letter><counter>-<name>`, children `<parent>:<branch>`.
    OrderId, "order id", "1 to 120 of A-Z a-z 0-9 _ : -", |t| all(t, 1, 120, |b| plain(b) || b == b':')
);
id!(
    /// 128 random bits, 32 lower-case hex digits.
    RunId, "run id", "32 lower-case hex digits", |t| all(t, 32, 32, |b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);
id!(
    /// Chosen by the sender; a repeat with the same id returns the same outcome.
    CommandId, "command id", "1 to 120 of A-Z a-z 0-9 _ : . -", |t| all(t, 1, 120, |b| plain(b) || b == b':' || b == b'.')
);
id!(
    /// SHA-256 of a body, 64 lower-case hex digits.
    ContentHash, "content hash", "64 lower-case hex digits", |t| all(t, 64, 64, |b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);
id!(
    /// Where an order is: the label of its step, behind the fork branches it is in: `loads:west/load`.
    Position, "position", "labels joined by / with fork branches as label:branch", |t| all(t, 1, 700, |b| plain(b) || b == b':' || b == b'/')
);

impl RunId {
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("{bits:032x}").into())
    }
}

impl ContentHash {
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(bytes);
        Self(digest.iter().map(|b| format!("{b:02x}")).collect::<String>().into())
    }
}

impl Position {
    /// The step at the end of the path.
    pub fn label(&self) -> Label {
        Label(self.0.rsplit('/').next().unwrap_or(&self.0).into())
    }
    /// The path of the fork branch that this position is in: `loads:west/` or nothing.
    pub fn prefix(&self) -> &str {
        self.0.rfind('/').map_or("", |i| &self.0[..=i])
    }
    /// Another step in the same fork branch.
    pub fn sibling(&self, label: &Label) -> Self {
        Self(format!("{}{label}", self.prefix()).into())
    }
    /// The first step of a branch of the fork at this position.
    pub fn into_branch(&self, branch: &BranchName, label: &Label) -> Self {
        Self(format!("{self}:{branch}/{label}").into())
    }
}

impl From<&Label> for Position {
    fn from(label: &Label) -> Self {
        Self(label.0.clone())
    }
}

impl OrderId {
    /// The id of a child order. `None` where it would be longer than an order id may be.
    pub fn child(&self, branch: &str) -> Result<Self, InvalidId> {
        Self::new(format!("{self}:{branch}"))
    }
}
