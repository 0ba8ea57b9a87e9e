//! Progress of long work on a repository, as stages and tasks.

use std::sync::Mutex;

use ::repository::{Phase, Repository, Step};

use super::{Progress, Task};

/// Makes the repository report the progress of checks and prunes.
pub(crate) fn observed(repository: Repository, progress: &Progress) -> Repository {
    let progress = progress.clone();
    let under_way: Mutex<Option<Task>> = Mutex::new(None);
    repository.observed(move |step| {
        let Ok(mut task) = under_way.lock() else { return };
        match step {
            Step::Began { phase, bytes, objects } => {
                if let Some(task) = task.take() {
                    task.finish();
                }
                let (stage, name, unit) = words(phase, objects);
                progress.stage(&stage, bytes);
                *task = Some(progress.task(name, bytes, unit));
            }
            Step::Advanced { bytes, objects } => {
                if let Some(task) = &*task {
                    task.advance(bytes, objects);
                }
            }
            _ => {
                if let Some(task) = task.take() {
                    task.finish();
                }
            }
        }
    })
}

/// Name of the stage, name of its task, and the unit that the task counts.
fn words(phase: Phase, objects: Option<u64>) -> (String, &'static str, &'static str) {
    let number = objects.map(|objects| format!("{} ", super::count(objects))).unwrap_or_default();
    match phase {
        Phase::Manifests => ("reading manifests".to_owned(), "manifests", "manifests"),
        Phase::Listing => ("listing the repository".to_owned(), "listed", "chunks"),
        Phase::Reading => (format!("reading {number}chunks"), "read", "chunks"),
        Phase::Deleting => (format!("deleting {number}unreferenced chunks"), "deleted", "chunks"),
        _ => ("working on the repository".to_owned(), "done", "objects"),
    }
}
