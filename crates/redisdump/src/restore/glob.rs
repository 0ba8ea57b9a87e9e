//! Patterns of key names, in the syntax of KEYS and SCAN.

/// Matches as the server does (`util.c`, `stringmatchlen`), without recursion: the last star is retried one byte
/// further.
pub(super) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let one = match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            (Some(_), Some(byte)) => one(pattern, p, *byte),
            _ => None,
        };
        match (one, star) {
            (Some(next), _) => {
                p = next;
                t += 1;
            }
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// The position after the pattern element at `at` if that element matches this byte.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match pattern.get(at)? {
        b'?' => Some(at + 1),
        b'\\' => match pattern.get(at + 1) {
            Some(escaped) => (*escaped == byte).then_some(at + 2),
            None => (byte == b'\\').then_some(at + 1),
        },
        b'[' => {
            let (mut i, mut found) = (at + 1, false);
            let not = pattern.get(i) == Some(&b'^');
            i += usize::from(not);
            loop {
                match (pattern.get(i), pattern.get(i + 1), pattern.get(i + 2)) {
                    (Some(b'\\'), Some(escaped), _) => {
                        found |= *escaped == byte;
                        i += 2;
                    }
                    (Some(b']'), ..) => break,
                    (Some(low), Some(b'-'), Some(high)) => {
                        found |= (*low.min(high)..=*low.max(high)).contains(&byte);
                        i += 3;
                    }
                    (Some(single), ..) => {
                        found |= *single == byte;
                        i += 1;
                    }
                    // An unclosed class ends with the pattern.
                    (None, ..) => break,
                }
            }
            (found != not).then_some((i + 1).min(pattern.len()))
        }
        literal => (*literal == byte).then_some(at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_the_server_reads_them() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("bot:*", "bot:status", true),
            ("bot:*", "both", false),
            ("*:*:hwm", "position:KRW-BTC:hwm", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("[", "[", false),
            ("a[b", "ab", true),
            ("", "", true),
            ("", "a", false),
            ("**a**", "bab", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
    }
}
