//! Names with `*` and `?`.

/// Whether `name` fits `pattern`: `*` stands for any characters, `?` for one, and case does not matter (ASCII). Takes
/// at most `pattern` times `name` steps.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut again: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p + 1, n));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                n += 1;
                // One character, however many bytes it has.
                while name.get(n).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {
                    n += 1;
                }
            }
            Some(byte) if byte.eq_ignore_ascii_case(&name[n]) => {
                p += 1;
                n += 1;
            }
            _ => match again {
                Some((after_star, from)) => {
                    again = Some((after_star, from + 1));
                    p = after_star;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}
