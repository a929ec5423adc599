//! `log.list`: lines of the stream LOGS, for people who ask.

use crate::collect::line;
use bytes::Bytes;
use ordo_contract::name::StreamKind;
use ordo_contract::request::log_notification::{LogListLine, LogListReply, LogListRequest};
use ordo_domain::log_rule::{TextPattern, fits};
use ordo_journal::{Call, CallError, FollowError, FollowFrom, Message};
use ordo_service::{Instance, answer, chain};
use std::collections::VecDeque;
use std::time::Duration;

/// Lines in an answer, if not said, and at most.
const USUAL: u32 = 100;
const MOST: u32 = 1_000;
/// Lines that are looked at for one answer.
const LOOKED_AT: u64 = 20_000;
/// Bytes of an answer.
const BYTES: usize = 512 * 1024;
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) async fn list(here: &Instance, call: &Call) -> Result<Bytes, CallError> {
    let request: LogListRequest = answer::body(call)?;
    let wanted = Wanted::new(request)?;
    let read = tokio::time::timeout(LIMIT, read(here, &wanted)).await;
    match read {
        Ok(Ok(reply)) => answer::encode(&reply),
        Ok(Err(error)) => Err(answer::unavailable(format!("the logs cannot be read now: {}", chain(&error)))),
        Err(_) => Err(answer::unavailable(format!("the logs could not be read within {} s", LIMIT.as_secs()))),
    }
}

struct Wanted {
    request: LogListRequest,
    pattern: Option<TextPattern>,
    limit: usize,
}

impl Wanted {
    fn new(request: LogListRequest) -> Result<Self, CallError> {
        let pattern = request.pattern.as_deref().map(TextPattern::new).transpose();
        let pattern = pattern.map_err(|e| answer::malformed(format!("the pattern cannot be used: {e}")))?;
        let limit = request.limit.unwrap_or(USUAL).clamp(1, MOST) as usize;
        Ok(Self { request, pattern, limit })
    }

    fn takes(&self, line: &LogListLine) -> bool {
        let LogListRequest { level, role, host, application, .. } = &self.request;
        level.is_none_or(|least| line.record.level.is_at_least(least))
            && role.as_ref().is_none_or(|role| fits(role, &line.role))
            && host.as_ref().is_none_or(|host| fits(host, &line.record.host))
            && application.as_ref().is_none_or(|wanted| fits(wanted, &line.record.application(&line.role)))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_in(&line.record.text()))
    }
}

fn shown(here: &Instance, message: &Message) -> Option<LogListLine> {
    let (role, instance, record) = line(here.bus.names(), message)?;
    Some(LogListLine { sequence: message.sequence, role, instance, record })
}

async fn read(here: &Instance, wanted: &Wanted) -> Result<LogListReply, FollowError> {
    let stream = here.bus.names().stream(StreamKind::Logs);
    let info = here.bus.stream_info(&stream).await?;
    let newest = wanted.request.after.is_none();
    // A stream that was made anew is shorter than what somebody saw: from its beginning then.
    let after = wanted.request.after.filter(|after| *after <= info.last_sequence);
    let from = match after {
        Some(after) => after + 1,
        None if newest => info.last_sequence.saturating_sub(LOOKED_AT) + 1,
        None => 1,
    };
    let from = from.max(info.first_sequence).max(1);
    let mut reply = LogListReply { lines: Vec::new(), next: info.last_sequence, more: false };
    if info.messages == 0 || from > info.last_sequence {
        return Ok(reply);
    }
    let until = info.last_sequence.min(from + LOOKED_AT - 1);
    let mut follow = here.bus.follow(FollowFrom::filtered(stream, here.bus.names().logs(), from)).await?;
    let (mut lines, mut bytes) = (VecDeque::new(), 0);
    'all: while follow.position() <= until {
        let batch = follow.batch(1_000).await?;
        let is_last = follow.pending() == 0;
        for message in batch.iter().filter(|message| message.sequence <= until) {
            let Some(line) = shown(here, message).filter(|line| wanted.takes(line)) else { continue };
            let is_full = lines.len() == wanted.limit || bytes + message.payload().len() > BYTES;
            if is_full && !newest {
                reply.more = true;
                break 'all;
            }
            bytes += message.payload().len();
            lines.push_back((message.payload().len(), line));
            while lines.len() > wanted.limit || (bytes > BYTES && lines.len() > 1) {
                bytes -= lines.pop_front().map_or(0, |(size, _)| size);
            }
        }
        if is_last {
            break;
        }
    }
    reply.lines = lines.into_iter().map(|(_, line)| line).collect();
    if reply.more {
        reply.next = reply.lines.last().map_or(reply.next, |line| line.sequence);
    } else if until < info.last_sequence {
        (reply.more, reply.next) = (true, until);
    }
    Ok(reply)
}
