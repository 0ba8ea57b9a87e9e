//! Fields of hashes that expire: kept beside a digest, so that two sides of a hash can be held against each other without
//! the fields whose time has come.
//!
//! A side that was written down yesterday has fields which a server has let go since; two servers let a field go some
//! moments apart. Only what falls due while a comparison may last is listed one by one. What was due before it is one
//! sum, and what is due later than a day from now counts as if it stayed.

/// What is due within so many milliseconds may be gone already on either side.
pub(crate) const SOON: i64 = 1000;
/// No question about a key is judged later than so many milliseconds after it was answered.
const HORIZON: i64 = 24 * 3600 * 1000;
/// Fields that are listed at a time, at the most; 32 bytes each.
pub(crate) const LISTED: usize = 100_000;

/// What of a hash's fields can expire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// The sum of the digests of all fields, and their number.
    all: (u128, u64),
    /// Of those that were due when they were read.
    due: (u128, u64),
    /// When each of those falls due that are due within a day, and its digest.
    near: Vec<(i64, u128)>,
    /// There were more than there was room for.
    more: bool,
}

/// A hash without the fields that are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) sum: u128,
    pub(crate) count: u64,
    /// How many were left out.
    pub(crate) due: u64,
}

impl Fields {
    /// What stays when the clock shows `now`; nothing where more fields are about to expire than were listed.
    pub(crate) fn rest(&self, now: i64) -> Option<Rest> {
        if self.more {
            return None;
        }
        let cut = now.saturating_add(SOON);
        let mut rest = Rest {
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

    /// Appends it in a form that [`Fields::read`] reads.
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

    /// How many fields are listed one by one.
    pub(crate) fn listed(&self) -> usize {
        self.near.len()
    }

    /// True when more fields are about to expire than were listed.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.more
    }
}

/// Notes fields as they pass.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    now: i64,
    room: usize,
    fields: Fields,
}

impl Watch {
    /// Lists at most `room` fields of a value, by a clock that shows `now` or a little more.
    pub(crate) fn new(now: i64, room: usize) -> Watch {
        Watch { now, room, fields: Fields::default() }
    }

    /// The clock shows this now. Values that are under way may go on.
    pub(crate) fn set_now(&mut self, now: i64) {
        self.now = now;
    }

    pub(crate) fn begin(&mut self) {
        self.fields = Fields::default();
    }

    pub(crate) fn note(&mut self, at: i64, digest: u128) {
        let fields = &mut self.fields;
        if at <= self.now.saturating_add(SOON) {
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

    /// What was noted of a value whose fields have this sum and number.
    pub(crate) fn take(&mut self, all: (u128, u64)) -> Fields {
        Fields { all, ..std::mem::take(&mut self.fields) }
    }
}

/// Reads so many bytes of a stored record.
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
        let fields = [(now - 5, 1), (now + SOON + 1, 2), (now + 60_000, 4), (now + 2 * HORIZON, 8)];
        for (at, digest) in fields {
            watch.note(at, digest);
        }
        let found = watch.take((1 + 2 + 4 + 8 + 16, 5));
        assert_eq!(found.rest(now), Some(Rest { sum: 30, count: 4, due: 1 }));
        assert_eq!(found.rest(now + 1), Some(Rest { sum: 28, count: 3, due: 2 }));
        assert_eq!(found.rest(now + 60_000), Some(Rest { sum: 24, count: 2, due: 3 }));
        assert_eq!(found.listed(), 2);
        watch.begin();
        for digest in 0..3 {
            watch.note(now + 5000, digest);
        }
        assert_eq!(watch.take((3, 3)).rest(now), None);
    }
}
