//! Documentation of the keys of `[nightly]`, `[[notify]]` and `[metrics]`.

use super::keys::{Table, key};

pub(super) const NIGHTLY: Table = Table {
    name: "[nightly]",
    meaning: "What `dbhaul nightly` does besides the backup, and when a schedule starts it.",
    keys: &[
        key(
            "at",
            "time of day",
            "03:05",
            "",
            "When the installed schedule starts the backup, in the zone of [retention].",
        ),
        key(
            "rehearse-at",
            "day and time, such as \"Sun 04:30\"",
            "Sun 04:30",
            "",
            "When the weekly schedule rehearses the newest snapshot, in the zone of [retention].",
        ),
        key(
            "check-after",
            "percentage, size or \"none\"",
            "5%",
            "",
            "Portion of the repository's data that is read and verified after each backup. It continues where the last check of a portion ended.",
        ),
        key(
            "alert-shrink",
            "percentage or \"none\"",
            "50%",
            "",
            "A snapshot is suspicious if a table, or the keys of a Redis database, shrank by more than this since the snapshot before it.",
        ),
        key(
            "alert-shrink-except",
            "list of patterns",
            "[]",
            "",
            "Tables that may shrink, such as queues and expired partitions: \"public.queue_*\". * matches any characters and ? matches one.",
        ),
        key(
            "stale-after",
            "duration, such as \"36h\"",
            "36h",
            "",
            "Age of a source's newest good backup at which `dbhaul status` exits with 3 and a notice says so.",
        ),
        key(
            "state-dir",
            "path",
            "$STATE_DIRECTORY or ~/.local/state/dbhaul",
            "",
            "Folder for the lock and the record of the last run, on this host.",
        ),
    ],
};

pub(super) const NOTIFY: Table = Table {
    name: "[[notify]]",
    meaning: "A channel for notices about how a nightly run ended. Repeat the table for each. A notice never delays a backup, and its failure changes no exit code. Its URL is a secret and is never shown.",
    keys: &[
        key(
            "kind",
            "\"discord\", \"slack\", \"webhook\" or \"healthchecks\"",
            "",
            "",
            "Protocol. \"webhook\" posts JSON. \"healthchecks\" is a dead-man's switch, which is pinged at the start and at the end of every run. Required.",
        ),
        key(
            "name",
            "string",
            "its kind",
            "",
            "Name of the channel in messages, since its URL is never shown.",
        ),
        key(
            "url",
            "URL",
            "",
            "",
            "Where to send. Use ${VAR} to keep it out of the file. Exactly one of url, url-file and url-command.",
        ),
        key("url-file", "path", "", "", "File whose first line is the URL."),
        key(
            "url-command",
            "list of strings",
            "",
            "",
            "Command whose first line of output is the URL. Runs without a shell.",
        ),
        key(
            "on",
            "list of \"failure\", \"recovered\", \"stale\", \"suspicious\", \"always\"",
            "all but always",
            "",
            "Which runs to send notices for. Not for healthchecks, which is notified of every run.",
        ),
        key(
            "repeat-after",
            "duration, such as \"1h\"",
            "1h",
            "",
            "A notice about the same is not sent again within this time.",
        ),
    ],
};

pub(super) const METRICS: Table = Table {
    name: "[metrics]",
    meaning: "Metrics of the last run for Prometheus.",
    keys: &[
        key(
            "textfile",
            "folder, or file that ends in .prom",
            "",
            "",
            "Textfile for the node exporter, replaced after every run: dbhaul.prom in the folder.",
        ),
        key(
            "pushgateway",
            "URL",
            "",
            "",
            "Pushgateway to which the same metrics are sent after every run. ${VAR} is replaced from the environment.",
        ),
    ],
};
