//! Field TTLs: hash fields that expire are kept next to a digest, so that two sides of a hash can be compared without
//! the fields that have expired.
//!
//! A side recorded yesterday has fields that a server has deleted since; two servers delete a field at slightly
//! different times. Only fields that expire during the likely duration of a comparison are listed individually. Fields
//! that had expired before are one sum, and fields that expire more than a day from now are treated as permanent.

/// A field that expires within this many milliseconds may already be missing on either side.
pub(crate) const EXPIRY_MARGIN: i64 = 1000;
/// A reply about a key is evaluated at most this many milliseconds after it arrived.
const HORIZON: i64 = 24 * 3600 * 1000;
/// Maximum number of fields listed at a time; 32 bytes each.
pub(crate) const LISTED: usize = 100_000;

/// The expiring fields of a hash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// The sum of the digests of all fields, and their number.
    all: (u128, u64),
    /// The same for those that had expired when they were read.
    due: (u128, u64),
    /// Expiry and digest of each field that expires within a day.
    near: Vec<(i64, u128)>,
    /// There were more than could be listed.
    more: bool,
}

/// A hash without its expired fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiveFields {
    pub(crate) sum: u128,
    pub(crate) count: u64,
    /// Number of omitted fields.
    pub(crate) due: u64,
}

impl Fields {
    /// What remains when the clock shows `now`; `None` if more fields are about to expire than were listed.
    pub(crate) fn rest(&self, now: i64) -> Option<LiveFields> {
        if self.more {
            return None;
        }
        let cut = now.saturating_add(EXPIRY_MARGIN);
        let mut rest = LiveFields {
            sum: self.all.0.wrapping_sub(self.due.0),
            count: self.all.1.saturating_sub(self.due.1),
            due: self.due.1,
        };
        for (_, digest) in self.near.iter().filter(|(at, _)| *at <= cut) {
            rest.sum = rest.sum.wrapping_sub(*digest);
            rest.count = rest.count.saturating_sub(1);
            rest.due += 1;
        }
        Some(rest)
    }

    /// Appends it in the format of [`Fields::read`].
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for (sum, count) in [self.all, self.due] {
            out.extend_from_slice(&sum.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
        }
        out.push(u8::from(self.more));
        out.extend_from_slice(&(self.near.len() as u64).to_le_bytes());
        for (at, digest) in &self.near {
            out.extend_from_slice(&at.to_le_bytes());
            out.extend_from_slice(&digest.to_le_bytes());
        }
    }

    /// Reads what [`Fields::write`] wrote.
    pub(crate) fn read(from: &mut impl std::io::Read) -> std::io::Result<Fields> {
        let mut fields = Fields::default();
        for pair in [&mut fields.all, &mut fields.due] {
            *pair = (u128::from_le_bytes(number(from)?), u64::from_le_bytes(number(from)?));
        }
        let [more] = number(from)?;
        fields.more = more != 0;
        for _ in 0..u64::from_le_bytes(number(from)?) {
            fields.near.push((i64::from_le_bytes(number(from)?), u128::from_le_bytes(number(from)?)));
        }
        Ok(fields)
    }

    /// Number of listed fields.
    pub(crate) fn listed(&self) -> usize {
        self.near.len()
    }

    /// True when more fields are about to expire than were listed.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.more
    }
}

/// Tracks fields as they are read.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    now: i64,
    room: usize,
    fields: Fields,
}

impl Watch {
    /// Lists at most `room` fields of a value, by a clock that shows `now` or slightly more.
    pub(crate) fn new(now: i64, room: usize) -> Watch {
        Watch { now, room, fields: Fields::default() }
    }

    /// Sets the clock. Values in progress may continue.
    pub(crate) fn set_now(&mut self, now: i64) {
        self.now = now;
    }

    pub(crate) fn begin(&mut self) {
        self.fields = Fields::default();
    }

    pub(crate) fn note(&mut self, at: i64, digest: u128) {
        let fields = &mut self.fields;
        if at <= self.now.saturating_add(EXPIRY_MARGIN) {
            fields.due.0 = fields.due.0.wrapping_add(digest);
            fields.due.1 += 1;
        } else if at <= self.now.saturating_add(HORIZON) {
            if fields.near.len() < self.room {
                fields.near.push((at, digest));
            } else {
                fields.more = true;
            }
        }
    }

    /// The tracked fields of a value whose fields have this sum and number.
    pub(crate) fn take(&mut self, all: (u128, u64)) -> Fields {
        Fields { all, ..std::mem::take(&mut self.fields) }
    }
}

/// Reads this many bytes of a stored record.
pub(crate) fn number<const N: usize>(from: &mut impl std::io::Read) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_fields_are_left_out_wherever_they_were_noted() {
        let now = 1_000_000;
        let mut watch = Watch::new(now, 2);
        let fields = [(now - 5, 1), (now + EXPIRY_MARGIN + 1, 2), (now + 60_000, 4), (now + 2 * HORIZON, 8)];
        for (at, digest) in fields {
            watch.note(at, digest);
        }
        let found = watch.take((1 + 2 + 4 + 8 + 16, 5));
        assert_eq!(found.rest(now), Some(LiveFields { sum: 30, count: 4, due: 1 }));
        assert_eq!(found.rest(now + 1), Some(LiveFields { sum: 28, count: 3, due: 2 }));
        assert_eq!(found.rest(now + 60_000), Some(LiveFields { sum: 24, count: 2, due: 3 }));
        assert_eq!(found.listed(), 2);
        watch.begin();
        for digest in 0..3 {
            watch.note(now + 5000, digest);
        }
        assert_eq!(watch.take((3, 3)).rest(now), None);
    }
}
