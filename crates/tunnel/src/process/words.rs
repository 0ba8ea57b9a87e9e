//! Standard error of a program.

use std::process::ExitStatus;
use std::sync::Mutex;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Maximum bytes to keep.
const MAX_BYTES: usize = 4 << 10;

/// The end of a program's output, bounded, and without terminal control characters.
#[derive(Debug, Default)]
pub(crate) struct OutputTail(Mutex<TailBuffer>);

#[derive(Debug, Default, Clone)]
struct TailBuffer {
    bytes: Vec<u8>,
    /// Number of bytes before those.
    before: usize,
}

impl OutputTail {
    /// Reads to the end.
    pub(crate) async fn collect(&self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.push(buffer.get(..read).unwrap_or_default());
        }
    }

    fn push(&self, bytes: &[u8]) {
        if let Ok(mut kept) = self.0.lock() {
            kept.bytes.extend_from_slice(bytes);
            let surplus = kept.bytes.len().saturating_sub(MAX_BYTES);
            kept.bytes.drain(..surplus);
            kept.before += surplus;
        }
    }

    /// Amount of output so far.
    pub(crate) fn mark(&self) -> usize {
        self.0.lock().map(|kept| kept.before + kept.bytes.len()).unwrap_or_default()
    }

    /// The output as one line.
    pub(crate) fn text(&self) -> String {
        self.text_since(0)
    }

    /// Output after a mark.
    pub(crate) fn text_since(&self, mark: usize) -> String {
        let kept = self.0.lock().map(|kept| kept.clone()).unwrap_or_default();
        let bytes = kept.bytes.get(mark.saturating_sub(kept.before)..).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes);
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines() {
            let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let line = line.trim();
            if !line.is_empty() && lines.last().is_none_or(|last| last != line) {
                lines.push(line.to_owned());
            }
        }
        let surplus = lines.len().saturating_sub(8);
        lines.split_off(surplus).join("; ")
    }

    /// The output; another text if there is none.
    pub(crate) fn or(&self, other: &str) -> String {
        let text = self.text();
        if text.is_empty() { other.to_owned() } else { text }
    }

    /// The output; the exit status if there is none.
    pub(crate) fn or_status(&self, status: ExitStatus) -> String {
        self.or(&format!("it exited without output ({status})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_kept_bounded_and_plain() {
        let words = OutputTail::default();
        words.push(&vec![b'x'; 3 * MAX_BYTES]);
        words.push("\n\u{1b}[2Jerror: lost\r\nerror: lost\n".replace("\u{1b}[2J", "\u{1b}").as_bytes());
        let text = words.text();
        assert!(text.len() <= MAX_BYTES && text.ends_with("; error: lost"), "{}", text.len());
        assert!(!text.contains('\u{1b}') && text.matches("lost").count() == 1);
        let mark = words.mark();
        words.push(b"more\n");
        assert_eq!(
            (words.text_since(mark), words.text_since(words.mark())),
            ("more".to_owned(), String::new())
        );
    }
}
