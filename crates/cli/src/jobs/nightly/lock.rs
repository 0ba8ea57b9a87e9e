//! One run of a job at a time per host: an advisory lock on a file, which the kernel releases when the process ends,
//! for whatever reason.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use rustix::fs::{FlockOperation, flock};

use crate::exit;
use crate::failure;

/// Interval between attempts to take a lock that another run holds.
const RETRY: Duration = Duration::from_millis(500);
/// Maximum bytes to read about the holder.
const MAX_HOLDER_LENGTH: u64 = 500;

/// A lock, released on drop.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Creates a folder, with its parents, that only its owner can access.
pub(crate) fn private_folder(folder: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot create the state folder {}", folder.display()))
}

/// Takes the lock. Waits up to `wait` for another run of the same job. `what` tells other runs what is running.
pub(crate) async fn acquire(
    path: &Path,
    job: &str,
    what: &str,
    now: DateTime<Utc>,
    wait: Duration,
) -> anyhow::Result<Lock> {
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = open.with_context(|| {
        format!("cannot open the lock {}: does another user run this job?", path.display())
    })?;
    let began = std::time::Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if began.elapsed() < wait => tokio::time::sleep(RETRY).await,
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(held(&mut file, job)),
            Err(error) => {
                return Err(std::io::Error::from(error))
                    .with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
    let holder = format!(
        "`dbhaul {what}`, process {}, since {}\n",
        std::process::id(),
        now.to_rfc3339_opts(SecondsFormat::Secs, true)
    );
    // Information for other runs only; the lock itself is what counts.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
    Ok(Lock { _file: file })
}

fn held(file: &mut File, job: &str) -> anyhow::Error {
    let mut holder = String::new();
    let _ = file.rewind().and_then(|()| file.take(MAX_HOLDER_LENGTH).read_to_string(&mut holder));
    let holder = match holder.trim() {
        "" => "another process".to_owned(),
        holder => holder.to_owned(),
    };
    failure::hint(
        exit::refused(format!("another run of job `{job}` is active: {holder}; nothing was done")),
        "wait until it has ended, or pass `--wait DURATION`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_run_is_refused_with_the_holder_of_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.lock");
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let take = || acquire(&path, "app", "nightly", now, Duration::ZERO);
        let first = take().await.unwrap();
        let error = take().await.unwrap_err();
        assert_eq!(exit::code_of(&error), exit::Exit::Refused);
        let text = failure::Failure::of(&error).render();
        let holder = format!("`dbhaul nightly`, process {}, since 2027-01-15T08:00:00Z", std::process::id());
        assert!(text.contains(&holder), "{text}");
        drop(first);
        // A file left behind does not block a run: only the lock on it does.
        take().await.unwrap();
    }
}
