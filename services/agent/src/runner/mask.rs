//! Secrets become `***` in a stream of bytes, also where a secret comes in pieces.

/// What stands in the place of a secret.
const MASK: &[u8] = b"***";
/// Shorter ones would mask half of every log; a job that uses one is not started.
pub const SHORTEST: usize = 4;

/// The secrets of one run. Never shown, never serialised.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Longest first.
    values: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.values.len())
    }
}

impl Secrets {
    /// Adds a value, and each of its lines that is long enough: tools print keys line by line.
    pub fn add(&mut self, value: &[u8]) {
        let lines = value.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        for part in std::iter::once(value).chain(lines) {
            if part.len() >= SHORTEST && !self.values.iter().any(|known| known == part) {
                self.values.push(part.to_vec());
            }
        }
        self.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The whole text masked.
    pub fn masked(&self, text: &[u8]) -> Vec<u8> {
        let (mut out, mut masker) = (Vec::new(), Masker::default());
        masker.feed(self, text, &mut out);
        masker.finish(&mut out);
        out
    }
}

/// Masks one channel of one run.
#[derive(Debug, Default)]
pub struct Masker {
    /// The beginning of what may be a secret. Held back until it is one or is not, or the stream ends.
    held: Vec<u8>,
}

impl Masker {
    /// Takes bytes; appends to `out` what may be shown.
    pub fn feed(&mut self, secrets: &Secrets, bytes: &[u8], out: &mut Vec<u8>) {
        if secrets.is_empty() {
            out.extend_from_slice(bytes);
            return;
        }
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(bytes);
        let mut first = [false; 256];
        for value in &secrets.values {
            first[usize::from(value[0])] = true;
        }
        let (mut at, mut plain) = (0, 0);
        'outer: while at < text.len() {
            if first[usize::from(text[at])] {
                let rest = &text[at..];
                for value in &secrets.values {
                    if rest.starts_with(value) {
                        out.extend_from_slice(&text[plain..at]);
                        out.extend_from_slice(MASK);
                        at += value.len();
                        plain = at;
                        continue 'outer;
                    }
                    if value.starts_with(rest) {
                        out.extend_from_slice(&text[plain..at]);
                        self.held = rest.to_vec();
                        return;
                    }
                }
            }
            at += 1;
        }
        out.extend_from_slice(&text[plain..]);
    }

    /// The stream has ended: what was held back is no whole secret.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        values.iter().for_each(|value| secrets.add(value.as_bytes()));
        secrets
    }

    #[test]
    fn a_secret_is_masked_however_it_is_cut() {
        let secrets = secrets(&["geheim", "geheimnis"]);
        let text = b"a geheim b geheimnis c geheimni d gehe";
        let expected = b"a *** b *** c ***ni d gehe";
        for cut in 1..text.len() {
            let (mut masker, mut out) = (Masker::default(), Vec::new());
            for piece in text.chunks(cut) {
                masker.feed(&secrets, piece, &mut out);
            }
            masker.finish(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(expected), "cut into {cut}");
        }
    }

    #[test]
    fn each_line_of_a_key_is_a_secret() {
        let secrets = secrets(&["-----BEGIN\nabcdef\nxy\n-----END"]);
        assert_eq!(secrets.masked(b"key line abcdef, xy"), b"key line ***, xy");
        assert!(!format!("{secrets:?}").contains("abcdef"));
    }

    #[test]
    fn bytes_that_are_no_secret_pass_at_once() {
        let (mut masker, mut out) = (Masker::default(), Vec::new());
        masker.feed(&secrets(&["geheim"]), b"plain\xff\x00", &mut out);
        assert_eq!(out, b"plain\xff\x00");
    }
}
