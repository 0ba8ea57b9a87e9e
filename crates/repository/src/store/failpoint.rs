//! Failpoints: points at which tests kill the process. Every write and deletion goes through the store, so that there
//! is one before and one after each, named after the operation and the kind of object: `put:chunks:before`,
//! `delete:snapshots:after`.
//!
//! The feature `failpoints` is enabled only for the tests of this crate; without it nothing of this is compiled.

/// An operation on an object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Put,
    Delete,
}

#[cfg(not(feature = "failpoints"))]
mod inner {
    use super::Step;

    #[inline(always)]
    pub(crate) fn before(_: Step, _: &str) {}

    #[inline(always)]
    pub(crate) fn after(_: Step, _: &str) {}
}

#[cfg(feature = "failpoints")]
mod inner {
    use std::collections::HashMap;
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use super::Step;

    /// The failpoint to stop at, such as `put:marks:after@2`: the second time it is reached.
    const AT: &str = "DBHAUL_FAILPOINT";
    /// A file to create when it is reached. The process then waits to be killed.
    const REACHED: &str = "DBHAUL_FAILPOINT_REACHED";
    /// A file that gets a line for each failpoint reached.
    const LOG: &str = "DBHAUL_FAILPOINT_LOG";

    struct Plan {
        at: Option<(String, u64)>,
        reached: Option<PathBuf>,
        log: Option<PathBuf>,
        counts: Mutex<HashMap<String, u64>>,
    }

    fn plan() -> &'static Plan {
        static PLAN: OnceLock<Plan> = OnceLock::new();
        PLAN.get_or_init(|| {
            let file = |name: &str| std::env::var_os(name).map(PathBuf::from);
            let at = std::env::var(AT).ok().map(|text| match text.split_once('@') {
                Some((name, number)) => (name.to_owned(), number.parse().unwrap_or(1)),
                None => (text, 1),
            });
            Plan { at, reached: file(REACHED), log: file(LOG), counts: Mutex::default() }
        })
    }

    pub(crate) fn before(step: Step, object: &str) {
        reach(step, object, "before");
    }

    pub(crate) fn after(step: Step, object: &str) {
        reach(step, object, "after");
    }

    fn reach(step: Step, object: &str, when: &str) {
        let plan = plan();
        if plan.at.is_none() && plan.log.is_none() {
            return;
        }
        let step = match step {
            Step::Put => "put",
            Step::Delete => "delete",
        };
        let kind = object.split('/').next().unwrap_or_default();
        let done = if object.ends_with(".done") { ".done" } else { "" };
        let name = format!("{step}:{kind}{done}:{when}");
        let count = {
            let mut counts = plan.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(name.clone()).or_default();
            *count += 1;
            *count
        };
        if let Some(log) = &plan.log
            && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(log)
        {
            // One write per line, so that lines of several threads do not mix.
            let _ = file.write_all(format!("{name}@{count}\n").as_bytes());
        }
        if plan.at.as_ref().is_some_and(|(at, number)| *at == name && *number == count) {
            if let Some(reached) = &plan.reached {
                let _ = std::fs::write(reached, &name);
            }
            loop {
                std::thread::park();
            }
        }
    }
}

pub(crate) use inner::{after, before};
