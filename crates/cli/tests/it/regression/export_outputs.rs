//! Outputs of `export --output`.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::os::unix::fs::FileTypeExt as _;
use std::process::{Command, Stdio};

use crate::common::{command, dbhaul, folder};

/// Redis 7.0's RDB of one string, without a checksum.
const ONE_KEY: &[u8] = b"REDIS0010\xfe\x00\x00\x03key\x05value\xff\0\0\0\0\0\0\0\0";

/// Issue 15, 7: `-o -` made a file of that name, `-o /dev/stdout` and a FIFO failed as files that exist.
#[test]
fn standard_output_and_special_files_are_written_to() {
    let here = folder();
    let at = here.path();
    std::fs::write(at.join("dump.rdb"), ONE_KEY).unwrap();
    std::fs::write(at.join("broken.rdb"), &ONE_KEY[..20]).unwrap();
    let export = |output: &str| dbhaul(at, &["export", "dump.rdb", "--format", "json", "-o", output]);

    let lines = dbhaul(at, &["export", "dump.rdb", "--format", "json"]).exits(0).stdout;
    assert!(lines.contains("value"), "{lines}");
    for stdout in ["-", "/dev/stdout", "/dev/fd/1"] {
        assert_eq!(export(stdout).exits(0).stdout, lines, "{stdout}");
        assert!(!at.join("-").exists());
    }
    assert_eq!(export("/dev/null").exits(0).stdout, "");

    // A shell's redirection appends, and nothing of what was there is lost.
    std::fs::write(at.join("log"), "before\n").unwrap();
    let log = std::fs::OpenOptions::new().append(true).open(at.join("log")).unwrap();
    let mut appending = command(at, &["export", "dump.rdb", "--format", "json", "-o", "/dev/stdout"]);
    assert!(appending.stdout(log).status().unwrap().success());
    assert_eq!(std::fs::read_to_string(at.join("log")).unwrap(), format!("before\n{lines}"));

    assert!(Command::new("mkfifo").arg(at.join("fifo")).status().unwrap().success());
    for (file, expected) in [("dump.rdb", Some(&lines)), ("broken.rdb", None)] {
        let reader = Command::new("cat").arg(at.join("fifo")).stdout(Stdio::piped()).spawn().unwrap();
        let run = dbhaul(at, &["export", file, "--format", "json", "-o", "fifo"]);
        let read = String::from_utf8(reader.wait_with_output().unwrap().stdout).unwrap();
        match expected {
            Some(lines) => assert_eq!((run.code, &read), (0, lines)),
            None => assert_eq!(run.code, 1, "{}", run.stderr),
        }
        assert!(at.join("fifo").metadata().unwrap().file_type().is_fifo(), "the FIFO is gone");
    }

    // An existing file is not changed; that of a failed run is removed.
    std::fs::write(at.join("mine"), "mine").unwrap();
    assert_ne!(export("mine").code, 0);
    assert_eq!(std::fs::read_to_string(at.join("mine")).unwrap(), "mine");
    dbhaul(at, &["export", "broken.rdb", "--format", "json", "-o", "new"]).exits(1);
    assert!(!at.join("new").exists());
}
