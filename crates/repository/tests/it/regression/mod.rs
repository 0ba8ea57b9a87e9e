//! Faults that were reported: one test for each kind, in a file of its own.

mod recipients;
mod unreliable_s3;
