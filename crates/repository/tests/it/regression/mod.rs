//! Faults that were reported: one test for each kind, in a file of its own.

mod unreliable_s3;
