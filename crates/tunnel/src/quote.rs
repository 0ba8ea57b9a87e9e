//! Quoting for the shell of another host.

/// Quotes one word for a POSIX shell. The command given to ssh is a single text that the remote shell parses, so each
/// word must be quoted.
pub(crate) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A command line of these words.
pub(crate) fn line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn echoed(words: &[String]) -> Vec<String> {
        let text = format!("printf '%s\\0' {}", line(words.iter().map(String::as_str)));
        let output = Command::new("sh").arg("-c").arg(text).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn a_shell_passes_hostile_arguments_unchanged() {
        let words =
            ["", "a b", "$(reboot)", "`id`", "it's", "''", "\\", "a\nb", ";rm -rf /", "*", "~", "!x", "한글"];
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(echoed(&words), words);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_word_survives_a_shell(words in proptest::collection::vec("[^\\x00]{1,20}", 1..4)) {
            prop_assert_eq!(echoed(&words), words);
        }
    }
}
