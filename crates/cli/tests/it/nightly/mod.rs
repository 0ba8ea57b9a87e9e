//! `dbhaul nightly` and what belongs to it: the lock, notices, metrics, suspicious results, the status.

mod doctor;
mod doctor_servers;
mod monitoring;
mod runs;
mod schedules;
mod stage;
