//! Timeline of a run: its stages, its longest tasks, and throughput over time. Reports plot it. Its size is bounded,
//! however long a run takes.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Event;

/// Maximum number of intervals. When they are used up, pairs are merged.
const MAX_INTERVALS: usize = 240;
/// Initial length of an interval.
const INITIAL_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of stages and tasks to keep.
const MOST_NAMED: usize = 100;

/// Records events.
pub(crate) struct Timeline {
    began: Instant,
    inner: Mutex<Recording>,
}

struct Recording {
    moment: Duration,
    moved: Vec<u64>,
    stages: Vec<(String, Duration)>,
    running: BTreeMap<u64, Duration>,
    tasks: Vec<Span>,
}

/// A stage or a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Span {
    /// What it was.
    pub(crate) name: String,
    /// Duration.
    pub(crate) seconds: f64,
    /// Bytes moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
}

/// The recorded timeline.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Recorded {
    /// Duration of the run so far.
    pub(crate) seconds: f64,
    /// Length of an interval.
    pub(crate) moment_seconds: f64,
    /// Bytes moved in each interval.
    pub(crate) moved: Vec<u64>,
    /// Stages in order.
    pub(crate) stages: Vec<Span>,
    /// The longest tasks, longest first.
    pub(crate) tasks: Vec<Span>,
}

impl Timeline {
    /// Starts now.
    pub(crate) fn begin() -> Timeline {
        Timeline {
            began: Instant::now(),
            inner: Mutex::new(Recording {
                moment: INITIAL_INTERVAL,
                moved: Vec::new(),
                stages: Vec::new(),
                running: BTreeMap::new(),
                tasks: Vec::new(),
            }),
        }
    }

    /// Records an event.
    pub(crate) fn note(&self, event: &Event<'_>) {
        self.note_at(event, self.began.elapsed());
    }

    fn note_at(&self, event: &Event<'_>, at: Duration) {
        let Ok(mut inner) = self.inner.lock() else { return };
        match event {
            Event::Stage { name, .. } if inner.stages.len() < MOST_NAMED => {
                inner.stages.push(((*name).to_owned(), at));
            }
            Event::Started { task, .. } => {
                inner.running.insert(*task, at);
            }
            Event::Advanced { bytes, .. } if *bytes > 0 => inner.moved(at, *bytes),
            Event::Finished { task, name, bytes, .. } => {
                let began = inner.running.remove(task).unwrap_or(at);
                let seconds = at.saturating_sub(began).as_secs_f64();
                inner.tasks.push(Span { name: (*name).to_owned(), seconds, bytes: Some(*bytes) });
                inner.keep_longest();
            }
            _ => {}
        }
    }

    /// What has been recorded so far.
    pub(crate) fn recorded(&self) -> Recorded {
        self.recorded_at(self.began.elapsed())
    }

    fn recorded_at(&self, now: Duration) -> Recorded {
        let Ok(inner) = self.inner.lock() else { return Recorded::default() };
        let ends = inner.stages.iter().skip(1).map(|(_, at)| *at).chain([now]);
        let stages = inner.stages.iter().zip(ends).map(|((name, began), end)| Span {
            name: name.clone(),
            seconds: end.saturating_sub(*began).as_secs_f64(),
            bytes: None,
        });
        Recorded {
            seconds: now.as_secs_f64(),
            moment_seconds: inner.moment.as_secs_f64(),
            moved: inner.moved.clone(),
            stages: stages.collect(),
            tasks: inner.tasks.clone(),
        }
    }
}

impl Recording {
    fn moved(&mut self, at: Duration, bytes: u64) {
        let moment_of =
            |at: Duration, moment: Duration| at.as_nanos().checked_div(moment.as_nanos()).unwrap_or(0);
        while moment_of(at, self.moment) >= MAX_INTERVALS as u128 {
            self.moment = self.moment.saturating_mul(2);
            self.moved = self.moved.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
        let index = usize::try_from(moment_of(at, self.moment)).unwrap_or(MAX_INTERVALS - 1);
        if self.moved.len() <= index {
            self.moved.resize(index + 1, 0);
        }
        if let Some(moment) = self.moved.get_mut(index) {
            *moment = moment.saturating_add(bytes);
        }
    }

    fn keep_longest(&mut self) {
        self.tasks.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        self.tasks.truncate(MOST_NAMED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_recorded_in_as_many_moments_as_a_short_one() {
        let timeline = Timeline::begin();
        let mut moved = 0;
        for second in 0..40_000 {
            let event = Event::Advanced { task: 1, bytes: 7, items: 0 };
            timeline.note_at(&event, Duration::from_secs(second));
            moved += 7;
        }
        let recorded = timeline.recorded_at(Duration::from_secs(40_000));
        assert!(recorded.moved.len() <= MAX_INTERVALS && recorded.moved.len() > MAX_INTERVALS / 2);
        assert_eq!(recorded.moved.iter().sum::<u64>(), moved);
        assert!(recorded.moment_seconds * recorded.moved.len() as f64 >= 40_000.0);
    }

    #[test]
    fn stages_end_where_the_next_begins_and_the_longest_tasks_stay() {
        let timeline = Timeline::begin();
        let at = Duration::from_secs;
        timeline.note_at(&Event::Stage { name: "copy", total: None }, at(1));
        timeline.note_at(&Event::Stage { name: "prove", total: None }, at(5));
        for task in 0..300 {
            timeline.note_at(&Event::Started { task, name: "t", total: None }, at(5));
            let event = Event::Finished { task, name: "t", bytes: task, items: 0, unit: "rows" };
            timeline.note_at(&event, at(5 + task));
        }
        let recorded = timeline.recorded_at(at(12));
        let seconds: Vec<f64> = recorded.stages.iter().map(|stage| stage.seconds).collect();
        assert_eq!(seconds, [4.0, 7.0]);
        assert_eq!((recorded.tasks.len(), recorded.tasks[0].seconds), (MOST_NAMED, 299.0));
    }
}
