//! Memory and parallel workers for index builds: set for each session, so that all parallel builds together stay
//! within one budget.

use serde::Serialize;

use crate::Error;
use crate::conflict::Conflict;
use crate::connect::Session;
use crate::warning::Warning;

const MIB: u64 = 1 << 20;

/// Default per session, if there is room: with less, large indexes are sorted on disk.
const DEFAULT_MEMORY: u64 = 256 * MIB;

/// Total of all sessions if the server does not report its memory.
const UNKNOWN_MACHINE: u64 = 1024 * MIB;

/// Maximum of `maintenance_work_mem` on all platforms.
const MAX_MEMORY: u64 = 2047 * MIB;

/// Resources of each index build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct IndexMemory {
    /// Maximum number of parallel builds.
    pub builds: usize,
    /// `maintenance_work_mem` of each, in bytes. Shared by its parallel workers.
    pub bytes: u64,
    /// `max_parallel_maintenance_workers` of each.
    pub workers: u64,
    /// `maintenance_work_mem` of the server and the memory of its machine, in bytes, where not every build can have that.
    #[serde(skip)]
    beyond: Option<(u64, u64)>,
}

/// Limits reported by the server.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    /// `maintenance_work_mem`, in bytes.
    memory: u64,
    workers_per_build: u64,
    workers: u64,
    /// Memory of the machine, if the role may read it.
    machine: Option<u64>,
}

impl IndexMemory {
    /// Divides `total`, or what the server's settings allow, between the builds.
    ///
    /// # Errors
    /// [`Error::Refused`] if `total` exceeds the memory of the server's machine.
    pub(super) async fn of(
        session: &Session,
        total: Option<u64>,
        builds: usize,
    ) -> Result<IndexMemory, Error> {
        let limits = Limits::of(session).await?;
        match (total, limits.machine) {
            (Some(total), Some(machine)) if total > machine => {
                let what = format!(
                    "{} cannot build indexes with {} MiB of memory",
                    session.server(),
                    total.div_ceil(MIB)
                );
                Err(Error::refused(what, Conflict::MachineMemory { mebibytes: machine / MIB }))
            }
            _ => Ok(IndexMemory::divided(limits, total, builds)),
        }
    }

    fn divided(limits: Limits, total: Option<u64>, builds: usize) -> IndexMemory {
        let number = builds.max(1) as u64;
        let set = limits.memory.min(MAX_MEMORY).saturating_mul(number);
        let beyond = limits.machine.filter(|machine| total.is_none() && set > machine / 2);
        let total = total.unwrap_or_else(|| {
            let room = limits.machine.map_or(UNKNOWN_MACHINE, |machine| machine / 4);
            // A setting that exceeds the machine is limited to half of its memory: the server and the system need the
            // rest.
            let set = beyond.map_or(set, |machine| machine / 2);
            set.max(room.min(DEFAULT_MEMORY.saturating_mul(number)))
        });
        IndexMemory {
            builds: builds.max(1),
            bytes: (total / number).clamp(MIB, MAX_MEMORY),
            workers: limits.workers_per_build.min(limits.workers / number),
            beyond: beyond.map(|machine| (limits.memory, machine)),
        }
    }

    /// A warning if the server's setting exceeds the memory of its machine for this many builds.
    pub(super) fn warning(&self) -> Option<Warning> {
        let (memory, machine) = self.beyond?;
        Some(Warning::IndexMemory {
            configured: memory / MIB,
            machine: machine / MIB,
            builds: self.builds,
            used: self.bytes / MIB,
        })
    }

    /// Statements for a session.
    pub(super) fn settings(&self) -> String {
        format!(
            "SET maintenance_work_mem = '{}kB'; SET max_parallel_maintenance_workers = {}",
            self.bytes / 1024,
            self.workers
        )
    }
}

impl Limits {
    async fn of(session: &Session) -> Result<Limits, Error> {
        let sql = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN \
                   ('maintenance_work_mem', 'max_parallel_maintenance_workers', 'max_parallel_workers', 'max_worker_processes')";
        let mut limits = Limits::default();
        let mut processes = u64::MAX;
        for row in session.query("the server's settings", sql).await? {
            let mut fields = row.into_iter().flatten();
            let (Some(name), Some(value)) = (fields.next(), fields.next()) else { continue };
            let value = value.parse().unwrap_or(0_u64);
            match name.as_str() {
                "maintenance_work_mem" => limits.memory = value.saturating_mul(1024),
                "max_parallel_maintenance_workers" => limits.workers_per_build = value,
                "max_parallel_workers" => limits.workers = value,
                _ => processes = value,
            }
        }
        limits.workers = limits.workers.min(processes);
        // Only some roles may read it, and only Linux has it.
        let sql = "SELECT (pg_catalog.regexp_match(pg_catalog.pg_read_file('/proc/meminfo'), 'MemTotal: +([0-9]+) kB'))[1]";
        let machine = session.value("the machine's memory", sql).await.ok().flatten();
        limits.machine = machine.and_then(|kib| kib.parse::<u64>().ok()).map(|kib| kib.saturating_mul(1024));
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_share_what_there_is() {
        let limits = Limits { memory: 64 * MIB, workers_per_build: 2, workers: 8, machine: Some(8192 * MIB) };
        let of = |limits, total, builds| {
            let IndexMemory { bytes, workers, .. } = IndexMemory::divided(limits, total, builds);
            (bytes / MIB, workers)
        };
        assert_eq!(of(limits, None, 2), (256, 2));
        assert_eq!(of(limits, None, 16), (128, 0), "a quarter of the machine");
        assert_eq!(of(limits, Some(1024 * MIB), 4), (256, 2));
        assert_eq!(of(limits, Some(1), 4), (1, 2));
        assert_eq!(of(Limits { machine: None, ..limits }, None, 8), (128, 1));
        assert_eq!(of(Limits { memory: 512 * MIB, ..limits }, None, 8), (512, 1), "the server's own setting");
        assert_eq!(of(Limits { workers_per_build: 0, ..limits }, None, 1), (256, 0));
        let too_much = Limits { memory: 1 << 41, ..limits };
        assert_eq!(of(too_much, None, 4), (1024, 2), "half of the machine");
        let said = IndexMemory::divided(too_much, None, 4).warning().unwrap().to_string();
        assert!(said.contains("2097152 MiB, but the machine has 8192 MiB of memory"), "{said}");
        assert_eq!(IndexMemory::divided(too_much, Some(1024 * MIB), 4).warning(), None);
        assert_eq!(IndexMemory::divided(limits, None, 4).warning(), None);
    }
}
