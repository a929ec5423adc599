//! Reading what a mail server received, as a mail program would.

use mailparse::{MailHeaderMap, ParsedMail};
use std::path::Path;

/// One message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMail {
    /// Of the envelope.
    pub from: String,
    pub to: Vec<String>,
    /// When the server had it whole, in milliseconds since 1970.
    pub at_ms: u64,
    /// False: the connection was cut instead of an answer.
    pub answered: bool,
    pub encrypted: bool,
    /// All headers of the message, decoded, in their order.
    pub headers: Vec<(String, String)>,
    pub text: String,
    pub html: String,
    /// The message as it came.
    pub raw: Vec<u8>,
}

impl ReceivedMail {
    /// Reads a message with the lines that the server put in front of it.
    ///
    /// # Errors
    /// When it is no message.
    pub fn parse(raw: &[u8]) -> Result<Self, mailparse::MailParseError> {
        let mail = mailparse::parse_mail(raw)?;
        let own = |name: &str| mail.headers.get_first_value(&format!("X-Test-{name}")).unwrap_or_default();
        let headers = mail.headers.iter().map(|h| (h.get_key(), h.get_value()));
        let to = own("To").split(", ").filter(|to| !to.is_empty()).map(str::to_owned).collect();
        Ok(Self {
            from: own("From"),
            to,
            at_ms: own("At").parse().unwrap_or_default(),
            answered: own("Answered") != "false",
            encrypted: own("Encrypted") == "true",
            headers: headers.filter(|(key, _)| !key.starts_with("X-Test-")).collect(),
            text: body(&mail, "text/plain").unwrap_or_default(),
            html: body(&mail, "text/html").unwrap_or_default(),
            raw: raw.to_owned(),
        })
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn subject(&self) -> &str {
        self.header("Subject").unwrap_or_default()
    }

    pub fn message_id(&self) -> &str {
        self.header("Message-ID").unwrap_or_default()
    }

    /// Whether a reader finds this word in it: in the text and in the HTML, with nothing that would go on with it around.
    pub fn names(&self, word: &str) -> bool {
        finds(&self.text, word) && finds(&self.html, word)
    }
}

fn finds(text: &str, word: &str) -> bool {
    let goes_on = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':');
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(goes_on) && !after.is_some_and(goes_on)
    })
}

fn body(mail: &ParsedMail<'_>, kind: &str) -> Option<String> {
    if mail.subparts.is_empty() {
        return (mail.ctype.mimetype == kind).then(|| mail.get_body().ok())?;
    }
    mail.subparts.iter().find_map(|part| body(part, kind))
}

/// All messages of a folder by their names; what is being written is not looked at.
///
/// # Panics
/// When a file is there that is no message: that is what the test wants to know.
pub fn read_folder(folder: &Path) -> Vec<ReceivedMail> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| {
        path.extension().is_some_and(|e| e == "eml")
            && !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'))
    });
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        ReceivedMail::parse(&bytes).unwrap_or_else(|e| panic!("{} is no message: {e}", path.display()))
    };
    paths.iter().map(read).collect()
}

/// Words of `wanted` that no mail names. For order ids: what nobody was told of.
pub fn unnamed<'a>(mails: &[ReceivedMail], wanted: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // One pass over each mail: a soak has thousands of both.
    let words = |text: &str| -> Vec<String> {
        let goes_on = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':');
        text.split(|c| !goes_on(c)).map(|w| w.trim_matches([':', '-']).to_owned()).collect()
    };
    let mut named = std::collections::BTreeSet::new();
    for mail in mails {
        let html: std::collections::BTreeSet<String> = words(&mail.html).into_iter().collect();
        named.extend(words(&mail.text).into_iter().filter(|word| html.contains(word)));
    }
    wanted.into_iter().filter(|word| !named.contains(*word)).collect()
}

/// Mails that came again under another id: whoever reads them could not tell that they are the same. Message-IDs of both.
pub fn repeated_under_other_ids(mails: &[ReceivedMail]) -> Vec<(&str, &str)> {
    let mut first: std::collections::BTreeMap<(&[String], &str, &str), &str> = std::collections::BTreeMap::new();
    let mut repeated = Vec::new();
    for mail in mails {
        let known = *first.entry((&mail.to, mail.subject(), &mail.text)).or_insert(mail.message_id());
        if known != mail.message_id() {
            repeated.push((known, mail.message_id()));
        }
    }
    repeated
}

/// RFC 4648; nothing where it is not that.
pub(super) fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for c in text.bytes().take_while(|c| *c != b'=') {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Vec::new(),
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}
