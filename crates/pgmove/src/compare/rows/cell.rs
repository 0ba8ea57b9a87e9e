//! Values of a row to show: their beginning, their length, and a hash that distinguishes them.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::copy_text;

/// Bytes to keep of a row, divided between its columns.
const ROW: usize = 8 << 10;

/// A value to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShownValue {
    /// The column.
    pub column: String,
    /// Its text, or the beginning of a long one; `None` for NULL.
    pub text: Option<String>,
    /// Length of the whole text in bytes, if only its beginning is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    hash: u64,
    length: usize,
    start: Option<Vec<u8>>,
}

impl Cell {
    /// The cells of a row with this many columns.
    pub(super) fn row<'a>(fields: impl Iterator<Item = &'a [u8]>, columns: usize) -> Vec<Cell> {
        let keep = (ROW / columns.max(1)).clamp(16, 256);
        fields
            .map(|field| {
                let value = copy_text::value(field);
                Cell {
                    hash: xxh3_64(field),
                    length: value.as_ref().map_or(0, |value| value.len()),
                    start: value.map(|value| value.get(..keep).unwrap_or(&value).to_vec()),
                }
            })
            .collect()
    }

    pub(super) fn shown(&self, column: &str) -> ShownValue {
        let Some(start) = &self.start else {
            return ShownValue { column: column.to_owned(), text: None, bytes: None };
        };
        let cut = start.len() < self.length;
        let start = match std::str::from_utf8(start) {
            // A character was cut.
            Err(error) if cut && error.error_len().is_none() => {
                start.get(..error.valid_up_to()).unwrap_or(start)
            }
            _ => start,
        };
        ShownValue {
            column: column.to_owned(),
            text: Some(String::from_utf8_lossy(start).into_owned()),
            bytes: cut.then_some(self.length),
        }
    }
}
