//! Formatting of key names.

/// A key for display: printable, at most 100 characters.
pub(crate) fn shown(key: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(key).chars().take(100).collect();
    if text.chars().any(char::is_control) { format!("{text:?}") } else { text }
}
