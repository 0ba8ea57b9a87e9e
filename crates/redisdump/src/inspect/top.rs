//! The largest of many keys.

use super::record::KeyRecord;

/// Keeps the keys with the greatest measure, without copying others.
#[derive(Debug, Default)]
pub(super) struct Top {
    most: usize,
    /// Ascending by measure; among equals, earlier ones are greater.
    kept: Vec<(u64, KeyRecord)>,
}

impl Top {
    pub(super) fn new(most: usize) -> Top {
        Top { most, kept: Vec::new() }
    }

    pub(super) fn offer(&mut self, measure: u64, record: &KeyRecord) {
        if self.most == 0 {
            return;
        }
        if self.kept.len() >= self.most {
            if self.kept.first().is_some_and(|(least, _)| measure <= *least) {
                return;
            }
            self.kept.remove(0);
        }
        let at = self.kept.partition_point(|(kept, _)| *kept < measure);
        self.kept.insert(at, (measure, record.clone()));
    }

    /// In descending order.
    pub(super) fn into_sorted(self) -> Vec<KeyRecord> {
        self.kept.into_iter().rev().map(|(_, record)| record).collect()
    }
}
