//! Batches of keys that a server was asked for, in order. The next batches are sent before the first of them is
//! answered, so that neither side waits for the other; how many depends on the size of recent values, which the server
//! has to buffer.

use std::collections::VecDeque;

/// Maximum number of keys in a batch.
const BATCH: usize = 64;
/// Maximum number of batches that are in flight.
const MAX_BATCHES: usize = 4;
/// Approximate size of replies that the server may have to buffer for us.
const WINDOW: u64 = 4 << 20;

/// How many keys may be in flight.
#[derive(Debug)]
pub(super) struct Window(usize);

impl Default for Window {
    /// Nothing is known about the size of the values.
    fn default() -> Self {
        Window(16)
    }
}

impl Window {
    /// Adapts it to values of this total size, in bytes.
    pub(super) fn fit(&mut self, bytes: u64, keys: usize) {
        let each = (bytes / keys.max(1) as u64).max(1);
        self.0 = usize::try_from(WINDOW / each).unwrap_or(usize::MAX).clamp(1, BATCH * MAX_BATCHES);
    }

    fn batch(&self) -> usize {
        (self.0 / MAX_BATCHES).clamp(1, BATCH)
    }
}

/// What is to be asked for, and what is in flight.
#[derive(Debug)]
pub(super) struct Batches<'a, T> {
    unsent: &'a [T],
    sent: VecDeque<&'a [T]>,
    flying: usize,
}

impl<'a, T> Batches<'a, T> {
    pub(super) fn of(all: &'a [T]) -> Batches<'a, T> {
        Batches { unsent: all, sent: VecDeque::new(), flying: 0 }
    }

    /// The next batch to be sent now, if the window has room for one.
    pub(super) fn depart(&mut self, window: &Window) -> Option<&'a [T]> {
        let number = window.batch().min(self.unsent.len());
        if number == 0 || (self.flying > 0 && self.flying + number > window.0) {
            return None;
        }
        let (batch, rest) = self.unsent.split_at_checked(number)?;
        self.unsent = rest;
        self.flying += number;
        self.sent.push_back(batch);
        Some(batch)
    }

    /// The batch whose replies arrive next; `None` at the end.
    pub(super) fn arrive(&mut self) -> Option<&'a [T]> {
        let batch = self.sent.pop_front()?;
        self.flying -= batch.len();
        Some(batch)
    }

    /// Sends nothing more.
    pub(super) fn stop(&mut self) {
        self.unsent = &[];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most keys in flight, and all keys in the order of their arrival.
    fn sent_batches(keys: usize, size: impl Fn(usize) -> u64) -> (usize, Vec<usize>) {
        let all: Vec<usize> = (0..keys).collect();
        let (mut window, mut flight) = (Window::default(), Batches::of(&all));
        let (mut most, mut arrived) = (0, Vec::new());
        loop {
            while flight.depart(&window).is_some() {}
            most = most.max(flight.flying);
            let Some(batch) = flight.arrive() else { return (most, arrived) };
            window.fit(batch.iter().map(|key| size(*key)).sum(), batch.len());
            arrived.extend_from_slice(batch);
        }
    }

    #[test]
    fn every_key_arrives_once_and_large_values_one_by_one() {
        for (size, most) in [(100, BATCH * MAX_BATCHES), (1 << 18, 16), (1 << 30, 16)] {
            let (flying, arrived) = sent_batches(1000, |_| size);
            assert_eq!(arrived, (0..1000).collect::<Vec<_>>());
            assert_eq!(flying, most, "{size}");
        }
        let mut window = Window::default();
        window.fit(1 << 33, 2);
        let mut flight = Batches::of(&[1, 2, 3]);
        assert_eq!((flight.depart(&window), flight.depart(&window)), (Some(&[1][..]), None));
        flight.stop();
        assert_eq!((flight.arrive(), flight.depart(&window), flight.arrive()), (Some(&[1][..]), None, None));
    }
}
