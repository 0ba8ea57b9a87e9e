//! Fields of COPY text.

use std::borrow::Cow;

/// The fields of a row without its newline.
pub(super) fn fields(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    row.split(|byte| *byte == b'\t')
}

/// The value of a field; `None` for NULL.
pub(super) fn value(field: &[u8]) -> Option<Cow<'_, [u8]>> {
    if field == b"\\N" {
        return None;
    }
    if !field.contains(&b'\\') {
        return Some(Cow::Borrowed(field));
    }
    let mut out = Vec::with_capacity(field.len());
    let mut bytes = field.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 11,
                Some(other) => other,
                None => b'\\',
            },
            other => other,
        });
    }
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_null_is_not_text() {
        let row = b"1\t\\N\ta\\tb\\\\c\\n\t\t\\\\N";
        let values: Vec<Option<Vec<u8>>> =
            fields(row).map(|field| value(field).map(Cow::into_owned)).collect();
        let text = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(values, [text("1"), None, text("a\tb\\c\n"), text(""), text("\\N")]);
    }
}
