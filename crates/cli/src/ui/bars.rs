//! Bars for a terminal: one for the stage as a whole, one for each task under way.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Event, Show, count, size};

/// The bars on the screen.
pub(crate) struct Bars {
    screen: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stage: Option<ProgressBar>,
    tasks: HashMap<u64, (ProgressBar, u64)>,
}

impl Bars {
    pub(crate) fn new() -> Bars {
        Bars { screen: MultiProgress::new(), state: Mutex::new(State::default()) }
    }

    fn bar(&self, name: &str, total: Option<u64>) -> ProgressBar {
        // Totals are estimates of a table's size on disk, so a bar may run past its end; indicatif bears that.
        let template = match total {
            Some(_) => "{prefix:30!} {wide_bar} {binary_bytes:>11} {binary_bytes_per_sec:>13} {msg} {eta:>5}",
            None => "{prefix:30!} {spinner} {binary_bytes:>11} {binary_bytes_per_sec:>13} {msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        let bar = self.screen.add(bar.with_style(style).with_prefix(name.to_owned()));
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }

    fn say(&self, line: &str) {
        // A failure to draw must never fail the job.
        let _ = self.screen.println(line);
    }
}

impl Show for Bars {
    fn show(&self, event: &Event<'_>) {
        let Ok(mut state) = self.state.lock() else { return };
        match event {
            Event::Stage { name, total } => {
                if let Some(old) = state.stage.take() {
                    old.finish_and_clear();
                }
                self.say(name);
                state.stage = total.map(|total| self.bar("total", Some(total)));
            }
            Event::Started { task, name, total } => {
                let bar = self.bar(name, *total);
                state.tasks.insert(*task, (bar, 0));
            }
            Event::Advanced { task, bytes, items } => {
                if let Some(stage) = &state.stage {
                    stage.inc(*bytes);
                }
                if let Some((bar, sum)) = state.tasks.get_mut(task) {
                    *sum += items;
                    bar.inc(*bytes);
                    bar.set_message(count(*sum));
                }
            }
            Event::Finished { task, name, bytes, items, unit } => {
                if let Some((bar, _)) = state.tasks.remove(task) {
                    bar.finish_and_clear();
                }
                self.say(&format!("  {name}: {} {unit}, {}", count(*items), size(*bytes)));
            }
            Event::Note(text) => self.say(text),
            Event::Warning(text) => self.say(&format!("warning: {text}")),
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state.lock() {
            if let Some(stage) = state.stage.take() {
                stage.finish_and_clear();
            }
            for (_, (bar, _)) in state.tasks.drain() {
                bar.finish_and_clear();
            }
        }
    }
}
