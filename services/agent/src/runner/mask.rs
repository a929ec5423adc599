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
        masker.finish(self, &mut out);
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
        let rest = mask(secrets, &text, true, out);
        self.held = text.split_off(rest);
    }

    /// The stream has ended: what was held back grows into no longer secret. It may still be a shorter one, or hold it.
    pub fn finish(&mut self, secrets: &Secrets, out: &mut Vec<u8>) {
        let text = std::mem::take(&mut self.held);
        mask(secrets, &text, false, out);
    }
}

/// Appends `text` masked to `out`, and says from where it was left out: where `more` may come, what its end begins may
/// become a secret.
fn mask(secrets: &Secrets, text: &[u8], more: bool, out: &mut Vec<u8>) -> usize {
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
                if more && value.starts_with(rest) {
                    out.extend_from_slice(&text[plain..at]);
                    return at;
                }
            }
        }
        at += 1;
    }
    out.extend_from_slice(&text[plain..]);
    text.len()
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
            masker.finish(&secrets, &mut out);
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
    fn a_secret_at_the_end_that_might_have_become_a_longer_one_is_masked() {
        let two = secrets(&["geheim", "geheimnis"]);
        assert_eq!(two.masked(b"token=geheim"), b"token=***");
        assert_eq!(two.masked(b"token=geheimni"), b"token=***ni");
        // The first line of a key, printed last; and a secret within what was held back for another.
        assert_eq!(secrets(&["-----BEGIN\nabcdef"]).masked(b"key -----BEGIN\n"), b"key ***\n");
        assert_eq!(secrets(&["xxgeheimyy", "geheim"]).masked(b"xxgeheimy"), b"xx***y");
    }

    #[test]
    fn bytes_that_are_no_secret_pass_at_once() {
        let (mut masker, mut out) = (Masker::default(), Vec::new());
        masker.feed(&secrets(&["geheim"]), b"plain\xff\x00", &mut out);
        assert_eq!(out, b"plain\xff\x00");
    }
}
