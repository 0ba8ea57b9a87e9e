//! `dbhaul nightly` and related commands: the lock, notices, metrics, suspicious results, the status.

mod doctor;
mod doctor_servers;
mod image;
mod monitoring;
mod runs;
mod schedules;
mod stage;
