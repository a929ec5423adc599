//! `ordo logs`: what the jobs of an order printed, from the history.

use super::id;
use crate::{
    arguments::LogsArguments,
    client::{Client, PROMPT},
    error::{CliError, Exit},
    show::{Look, harmless, line, reader_is_gone, text, write_out},
};
use ordo_contract::request::{
    LogChunk, LogPosition, LogReadReply, LogReadRequest, ORDER_ENDED, OrderRequest, OrderShowReply, history, proxy,
};
use ordo_domain::{OrderId, RunId};
use std::{collections::BTreeMap, time::Duration};

/// Between questions while following.
const PERIOD: Duration = Duration::from_millis(500);

pub async fn run(client: &Client, arguments: &LogsArguments, look: &Look) -> Result<Exit, CliError> {
    let mut reader = LogReader::new(id(&arguments.order)?, arguments.step.clone());
    reader.patient = arguments.follow;
    let mut any = false;
    loop {
        let (chunks, ended) = reader.read(client).await?;
        for chunk in &chunks {
            any = true;
            if look.json {
                line(&serde_json::to_string(chunk).unwrap_or_default());
            } else if arguments.raw {
                write_out(&chunk.bytes());
            } else {
                reader.lines(chunk).iter().for_each(|text| line(text));
            }
        }
        if !reader.more && (ended || !arguments.follow) {
            break;
        }
        if reader_is_gone() {
            return Ok(Exit::Done);
        }
        if !reader.more {
            tokio::time::sleep(PERIOD).await;
        }
    }
    if !look.json && !arguments.raw {
        reader.rest().iter().for_each(|text| line(text));
        if !any {
            let of = arguments.step.as_ref().map_or_else(String::new, |step| format!(" at {}", harmless(step)));
            eprintln!("nothing was printed{of} so far");
        }
    }
    Ok(Exit::Done)
}

/// Reads on from where it was; cuts chunks into lines.
#[derive(Debug)]
pub struct LogReader {
    order: OrderId,
    step: Option<String>,
    after: Vec<LogPosition>,
    /// There is more to read at once.
    pub more: bool,
    /// A restart of the history is waited out.
    pub patient: bool,
    /// The beginning of a line whose end is not there yet, by run and channel.
    open: BTreeMap<(RunId, String), Vec<u8>>,
    /// Where each run is, for the text in front of its lines.
    places: BTreeMap<RunId, String>,
}

impl LogReader {
    pub fn new(order: OrderId, step: Option<String>) -> Self {
        Self {
            order,
            step,
            after: Vec::new(),
            more: false,
            patient: false,
            open: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    /// The next chunks, and whether nothing will follow.
    pub async fn read(&mut self, client: &Client) -> Result<(Vec<LogChunk>, bool), CliError> {
        let request = LogReadRequest { order: self.order.clone(), run: None, after: self.after.clone() };
        let answer = if self.patient {
            client.ask_patiently("history", history::LOG_READ, &request, PROMPT, None).await
        } else {
            client.ask("history", history::LOG_READ, &request).await.map(Some)
        };
        let reply: LogReadReply = match answer {
            // Just added: the history lies a moment behind the state.
            Err(error) if error.is_not_found() && self.is_live(client).await => return Ok((Vec::new(), false)),
            Err(error) => return Err(error),
            Ok(Some(reply)) => reply,
            Ok(None) => return Ok((Vec::new(), false)),
        };
        self.after = reply.next;
        self.more = reply.more;
        let chunks = reply.chunks.into_iter().filter(|chunk| self.wants(chunk)).collect();
        Ok((chunks, reply.ended && !reply.more))
    }

    async fn is_live(&self, client: &Client) -> bool {
        let request = OrderRequest { order: self.order.clone() };
        match client.ask::<_, OrderShowReply>("proxy", proxy::ORDER_SHOW, &request).await {
            Ok(_) => true,
            // It was there a moment ago.
            Err(CliError::Answer { body, .. }) => body.code == ORDER_ENDED,
            Err(_) => false,
        }
    }

    fn wants(&self, chunk: &LogChunk) -> bool {
        let Some(step) = &self.step else { return true };
        chunk.position == *step || chunk.position.rsplit('/').next() == Some(step)
    }

    /// Whole lines, made harmless, with the place in front where there are several.
    pub fn lines(&mut self, chunk: &LogChunk) -> Vec<String> {
        let attempt = if chunk.attempt > 1 { format!(" #{}", chunk.attempt) } else { String::new() };
        self.places.entry(chunk.run.clone()).or_insert_with(|| format!("{}{attempt}", harmless(&chunk.position)));
        let key = (chunk.run.clone(), chunk.channel.clone());
        let mut lines = Vec::new();
        if chunk.omitted_bytes > 0 {
            lines.extend(self.open.remove(&key));
            lines.push(format!("… {} left out here …", text::bytes(chunk.omitted_bytes)).into_bytes());
        }
        // By bytes: a chunk may end within a character.
        let mut whole = self.open.remove(&key).unwrap_or_default();
        whole.extend(chunk.bytes());
        let mut parts: Vec<&[u8]> = whole.split(|byte| *byte == b'\n').collect();
        let open = parts.pop().unwrap_or_default();
        lines.extend(parts.into_iter().map(<[u8]>::to_vec));
        if open.len() > LONGEST {
            lines.push(open.to_vec());
        } else if !open.is_empty() {
            self.open.insert(key, open.to_vec());
        }
        lines.iter().map(|line| self.shown(&chunk.run, line)).collect()
    }

    /// What was printed last, without a line break.
    pub fn rest(&mut self) -> Vec<String> {
        let open = std::mem::take(&mut self.open);
        open.into_iter().map(|((run, _), line)| self.shown(&run, &line)).collect()
    }

    fn shown(&self, run: &RunId, line: &[u8]) -> String {
        let text = harmless(&String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)));
        match self.places.get(run) {
            Some(place) => format!("{place} | {text}"),
            None => text,
        }
    }
}

/// A longer line is shown in parts.
const LONGEST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(position: &str, run: u128, number: u32, text: &str) -> LogChunk {
        LogChunk {
            run: RunId::from_bits(run),
            order: OrderId::new("20261122-A1-x").unwrap(),
            position: position.into(),
            attempt: 1,
            chunk: number,
            channel: "stdout".into(),
            at: chrono::DateTime::UNIX_EPOCH,
            text: text.into(),
            hex: None,
            omitted_bytes: if number == 3 { 2048 } else { 0 },
        }
    }

    #[test]
    fn lines_are_put_together_over_chunks_and_branches() {
        let mut reader = LogReader::new(OrderId::new("20261122-A1-x").unwrap(), None);
        assert_eq!(reader.lines(&chunk("dump", 1, 1, "one\r\ntw")), ["dump | one"]);
        assert_eq!(reader.lines(&chunk("web", 2, 1, "other\n")), ["web | other"]);
        assert_eq!(reader.lines(&chunk("dump", 1, 2, "o\n\x1b[2Jthree")), ["dump | two"]);
        assert_eq!(
            reader.lines(&chunk("dump", 1, 3, "last\n")),
            ["dump | \\u{1b}[2Jthree", "dump | … 2.0 KiB left out here …", "dump | last"]
        );
        assert!(reader.rest().is_empty());
    }

    #[test]
    fn a_character_that_two_chunks_share_is_whole_again() {
        let mut reader = LogReader::new(OrderId::new("20261122-A1-x").unwrap(), None);
        let (first, second) = "grün\n".as_bytes().split_at(3);
        let [first, second] = [(1, first), (2, second)].map(|(number, bytes)| {
            let (text, hex) = LogChunk::show(bytes);
            LogChunk { text, hex, ..chunk("dump", 1, number, "") }
        });
        assert_eq!((first.text.as_str(), first.hex.as_deref()), ("gr\u{fffd}", Some("6772c3")));
        assert_eq!([first.bytes(), second.bytes()].concat(), "grün\n".as_bytes());
        assert!(reader.lines(&first).is_empty());
        assert_eq!(reader.lines(&second), ["dump | grün"]);
    }
}
