//! A page as a MIME message: text and HTML, headers that keep a thread together and robots quiet.

use super::Page;
use chrono::{DateTime, Utc};
use lettre::{
    Message,
    message::{
        Mailbox, MultiPart, MultiPartKind, SinglePart,
        header::{ContentType, HeaderName, HeaderValue},
    },
};
use ordo_domain::alert::MailAddress;

/// What a message says around its page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Without the angle brackets.
    pub message_id: String,
    pub from: MailAddress,
    /// Shown instead of the address.
    pub from_name: String,
    pub to: Vec<MailAddress>,
    pub reply_to: Option<MailAddress>,
    /// The first mail of the thread and the one before this, oldest first, without the angle brackets.
    pub references: Vec<String>,
    /// Stays the same however often the mail is sent.
    pub date: DateTime<Utc>,
    /// For filters of mail programs: `X-Ordo-Site: prod`.
    pub marks: Vec<(&'static str, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("{address} cannot be used as a mail address")]
    Address {
        address: String,
        #[source]
        source: lettre::address::AddressError,
    },
    #[error("the mail cannot be put together")]
    Build(#[source] lettre::error::Error),
    #[error("{0} is no name of a header")]
    Header(&'static str),
}

/// `site.id@domain`: the same mail has the same id however often it is sent.
pub fn message_id(site: &str, id: &str, from: &MailAddress) -> String {
    let plain = |text: &str| -> String {
        let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let kept: String = text.chars().map(|c| if keep(c) { c } else { '-' }).collect();
        // Neither dots at the ends nor two in a row: RFC 5322, dot-atom.
        kept.split('.').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    };
    format!("{}.{}@{}", plain(site), plain(id), from.domain())
}

/// The bytes of the message, lines ended by CR LF, ASCII throughout.
pub fn build(page: &Page, envelope: &Envelope) -> Result<Vec<u8>, MessageError> {
    let system_time = std::time::SystemTime::from(envelope.date);
    let mut builder = Message::builder()
        .from(mailbox(&envelope.from, Some(&envelope.from_name))?)
        .subject(page.subject.clone())
        .date(system_time)
        .message_id(Some(format!("<{}>", envelope.message_id)));
    for to in &envelope.to {
        builder = builder.to(mailbox(to, None)?);
    }
    if let Some(reply_to) = &envelope.reply_to {
        builder = builder.reply_to(mailbox(reply_to, None)?);
    }
    if let Some(last) = envelope.references.last() {
        let all: Vec<String> = envelope.references.iter().map(|id| format!("<{id}>")).collect();
        builder = builder.in_reply_to(format!("<{last}>")).references(all.join(" "));
    }
    // RFC 3834, and what Exchange looks at: no out-of-office replies to a robot.
    let fixed = [("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All")];
    let marks = envelope.marks.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in fixed.into_iter().chain(marks) {
        let header = HeaderName::new_from_ascii(name.to_owned()).map_err(|_| MessageError::Header(name))?;
        builder = builder.raw_header(HeaderValue::new(header, super::clean::short(value, 200)));
    }
    let body = MultiPart::builder()
        .kind(MultiPartKind::Alternative)
        // Ours, so that the same mail has the same bytes.
        .boundary(boundary(&envelope.message_id))
        .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(page.text()))
        .singlepart(SinglePart::builder().header(ContentType::TEXT_HTML).body(page.html()));
    Ok(builder.multipart(body).map_err(MessageError::Build)?.formatted())
}

fn boundary(message_id: &str) -> String {
    let sum = ordo_domain::ContentHash::of(message_id.as_bytes());
    format!("ordo-{}", &sum.as_str()[..32])
}

fn mailbox(address: &MailAddress, name: Option<&str>) -> Result<Mailbox, MessageError> {
    let parsed =
        address.as_str().parse().map_err(|source| MessageError::Address { address: address.to_string(), source })?;
    let name = name.map(|n| super::clean::short(n, 60)).filter(|n| !n.is_empty());
    Ok(Mailbox::new(name, parsed))
}
