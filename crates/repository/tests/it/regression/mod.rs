//! Reported bugs: one test for each kind, in a file of its own.

mod addresses;
mod credentials;
mod damage;
mod earlier_versions;
mod folders;
mod full_disk;
mod lost_document;
mod object_lock;
mod recipients;
mod unreliable_s3;
