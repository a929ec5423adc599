//! Random and mutated bytes through framing and parsing, always the same ones: never a panic, never more memory than
//! bounded, and what is handed out never more than what came in.

use crate::frame::Framer;
use crate::parse::{Receipt, parse};
use crate::{allow::Network, clean};
use chrono::{DateTime, FixedOffset};

const LONGEST: usize = 512;

struct Chance(u64);

impl Chance {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % below.max(1)
    }
}

const CORPUS: [&[u8]; 12] = [
    b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed for lonvick on /dev/pts/8\n",
    b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.\n",
    b"<165>1 2003-10-11T22:14:15.003Z mymachine evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"App \\\"x\\]\" eventID=\"1011\"][b c=\"d\"] text\n",
    b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8\n",
    b"<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!\n",
    b"<165>Aug 24 2005 05:34:00 CST 1987 mymachine myproc[10]: %% It's time. %%  Ingredients\n",
    b"72 <34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - - - short text",
    b"12 <11>1 - - - -9999999 <1>",
    b"<0><0><191>1 1 1 1 1 1 [",
    b"<13>Dec 31 23:59:60 host tag[pid]: [a b=\"",
    b"\x00\x1b[2J\xe2\x80\xae<11>\xff\xfe\r\n\r\n",
    b"<13>Nov 25 10:00:00 \xe5\xa3\xb2\xe4\xb8\x8a \xe5\xa3\xb2[1]: \xe4\xb8\x8a\n",
];

fn mutated(chance: &mut Chance) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=chance.next(4) {
        bytes.extend_from_slice(CORPUS[chance.next(CORPUS.len())]);
    }
    if chance.next(20) == 0 {
        bytes = (0..chance.next(3_000)).map(|_| chance.next(256) as u8).collect();
    }
    for _ in 0..chance.next(12) {
        let at = chance.next(bytes.len());
        match chance.next(6) {
            _ if bytes.is_empty() => bytes.push(b'<'),
            0 => bytes[at] = chance.next(256) as u8,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, b"<>[]\"\\ :=-\n\0 0123456789"[chance.next(23)]),
            3 => bytes.truncate(at),
            4 => {
                let part = bytes[at..(at + chance.next(40)).min(bytes.len())].to_vec();
                let to = chance.next(bytes.len());
                bytes.splice(to..to, part);
            }
            _ => {
                let long = vec![bytes[at]; chance.next(2_000)];
                bytes.splice(at..at, long);
            }
        }
    }
    bytes
}

fn receipt(chance: &mut Chance) -> Receipt {
    let at = DateTime::from_timestamp(1_700_000_000 + chance.next(400_000_000) as i64, 0).unwrap();
    let zone = FixedOffset::east_opt(chance.next(28 * 3_600) as i32 - 14 * 3_600).unwrap();
    Receipt { at, zone, sender: "::1".parse().unwrap() }
}

#[test]
fn whatever_comes_in_is_borne() {
    let mut chance = Chance(0x0bad_cafe_f00d);
    let mut messages = 0_u32;
    for round in 0..30_000 {
        let bytes = mutated(&mut chance);
        let receipt = receipt(&mut chance);
        let mut framer = Framer::new(LONGEST);
        let mut handed_out = 0;
        let mut take = |message: &[u8], cut: u64| {
            messages += 1;
            assert!(message.len() <= LONGEST && !message.is_empty());
            handed_out += message.len();
            let text = clean::text(message);
            let parsed = parse(&text, &receipt);
            let all = [&parsed.host, &parsed.application, &parsed.text];
            let also = parsed.process.iter().chain(&parsed.message_id);
            for text in all.into_iter().chain(also) {
                assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "round {round}: {text:?}");
            }
            assert!(parsed.host.len() <= 255 * 4 && parsed.application.len() <= 140 * 4);
            // A character that cannot be read takes three bytes instead of one, or is written out with up to ten.
            assert!(parsed.text.len() <= 10 * LONGEST, "{}", parsed.text.len());
            assert!(cut == 0 || message.len() == LONGEST || cut < 10_000_000);
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((1 + chance.next(700)).min(rest.len()));
            framer.feed(piece, &mut take);
            rest = after;
        }
        framer.finish(&mut take);
        assert!(handed_out <= bytes.len());
        let _ = String::from_utf8_lossy(&bytes).parse::<Network>();
    }
    assert!(messages > 30_000, "the corpus is of use: {messages}");
}
