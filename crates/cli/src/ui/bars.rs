//! Progress bars for a terminal: one for the stage, one for each running task.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::lines::moved;
use super::meter::Meter;
use super::{Event, Show, count};

/// The bars on the screen.
pub(crate) struct Bars {
    screen: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stage: Option<ProgressBar>,
    meter: Meter,
    tasks: HashMap<u64, (ProgressBar, u64)>,
}

impl State {
    fn show_stage(&self) {
        if let Some(stage) = &self.stage {
            stage.set_position(self.meter.position());
        }
    }
}

impl Bars {
    pub(crate) fn new() -> Bars {
        Bars { screen: MultiProgress::new(), state: Mutex::new(State::default()) }
    }

    fn bar(&self, name: &str, total: Option<u64>) -> ProgressBar {
        let template = match total {
            Some(_) => {
                "{prefix:30!} {wide_bar} {percent:>3} % {binary_bytes:>11} {binary_bytes_per_sec:>13} {msg} {eta:>5}"
            }
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
        // A drawing error must never fail the job.
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
                state.meter = Meter::new(*total);
                state.stage = total.map(|total| self.bar("total", Some(total)));
            }
            Event::Started { task, name, total } => {
                let bar = self.bar(name, *total);
                state.tasks.insert(*task, (bar, 0));
                state.meter.started(*task, *total);
            }
            Event::Advanced { task, bytes, items } => {
                state.meter.advanced(*task, *bytes);
                state.show_stage();
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
                state.meter.finished(*task);
                state.show_stage();
                self.say(&format!("  {name}: {}", moved(*items, unit, *bytes)));
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
