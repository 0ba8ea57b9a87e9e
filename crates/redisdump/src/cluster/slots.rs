//! Hash slots of keys, as defined by the Redis Cluster specification.

use std::fmt;
use std::sync::OnceLock;

use crc_fast::{CrcAlgorithm, checksum};

/// The number of slots in a cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// The slot of a key: of the text between its first `{` and the next `}` if that is not empty, otherwise of the whole
/// key.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    let crc = checksum(CrcAlgorithm::Crc16Xmodem, tag.unwrap_or(key));
    u16::try_from(crc % u64::from(SLOTS)).unwrap_or_default()
}

/// A set of slots.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SlotSet(Vec<bool>);

impl Default for SlotSet {
    fn default() -> Self {
        SlotSet(vec![false; usize::from(SLOTS)])
    }
}

impl SlotSet {
    /// Adds the slots from `first` to `last`; returns those that were already present.
    pub(crate) fn add(&mut self, first: u16, last: u16) -> Vec<u16> {
        let mut twice = Vec::new();
        for slot in first..=last.min(SLOTS - 1) {
            if let Some(has) = self.0.get_mut(usize::from(slot))
                && std::mem::replace(has, true)
            {
                twice.push(slot);
            }
        }
        twice
    }

    pub(crate) fn has(&self, slot: u16) -> bool {
        self.0.get(usize::from(slot)).copied().unwrap_or_default()
    }

    /// The slots that are not in this set.
    pub(crate) fn missing(&self) -> SlotSet {
        SlotSet(self.0.iter().map(|has| !has).collect())
    }

    pub(crate) fn first(&self) -> Option<u16> {
        (0..SLOTS).find(|slot| self.has(*slot))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.iter().filter(|has| **has).count()
    }

    /// The ranges, each with its last slot.
    pub(crate) fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for slot in (0..SLOTS).filter(|slot| self.has(*slot)) {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(slot) => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }
}

impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |(first, last)| match first == last {
            true => format!("{first}"),
            false => format!("{first}-{last}"),
        };
        f.write_str(&self.ranges().into_iter().map(range).collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotSet({self})")
    }
}

/// For each slot, a short hash tag, so that a key of any slot can be named.
pub(crate) struct Tags;

impl Tags {
    pub(crate) fn of(slot: u16) -> String {
        static TAGS: OnceLock<Vec<u32>> = OnceLock::new();
        let tags = TAGS.get_or_init(|| {
            let mut tags = vec![None; usize::from(SLOTS)];
            let mut left = tags.len();
            for number in 0_u32.. {
                let free = tags.get_mut(usize::from(slot_of(number.to_string().as_bytes())));
                if let Some(free @ None) = free {
                    *free = Some(number);
                    left -= 1;
                }
                if left == 0 {
                    break;
                }
            }
            tags.into_iter().flatten().collect()
        });
        tags.get(usize::from(slot)).copied().unwrap_or_default().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of(b"123456789"), 0x31c3);
        assert_eq!((slot_of(b"foo"), slot_of(b"")), (12182, 0));
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), slot_of(b"foo{}{bar}".as_slice()));
        assert_ne!(slot_of(b"foo{}{bar}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
    }

    #[test]
    fn every_slot_has_a_tag() {
        for slot in 0..SLOTS {
            assert_eq!(slot_of(format!("x:{{{}}}:y", Tags::of(slot)).as_bytes()), slot);
        }
    }

    #[test]
    fn sets_are_shown_as_ranges() {
        let mut set = SlotSet::default();
        assert!(set.add(0, 5).is_empty() && set.add(7, 7).is_empty());
        assert_eq!(set.add(5, 6), [5]);
        set.add(16_383, u16::MAX);
        assert_eq!(set.to_string(), "0-7 16383");
        assert_eq!((set.count(), set.missing().first()), (9, Some(8)));
    }
}
