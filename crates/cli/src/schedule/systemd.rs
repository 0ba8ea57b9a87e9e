//! A service and a timer for the backup, and for the rehearsal if there is one.

use super::{File, Plan};

pub(super) const BACKUP_TIMER: &str = "dbhaul-nightly.timer";
pub(super) const REHEARSAL_TIMER: &str = "dbhaul-rehearse.timer";
const FOLDER: &str = "/etc/systemd/system";

pub(super) fn paths() -> Vec<String> {
    ["dbhaul-nightly.service", BACKUP_TIMER, "dbhaul-rehearse.service", REHEARSAL_TIMER]
        .map(|name| format!("{FOLDER}/{name}"))
        .to_vec()
}

pub(super) fn files(plan: &Plan) -> Vec<File> {
    let file = |name: &str, text: String| File { path: format!("{FOLDER}/{name}"), text };
    let zone = plan.zone.name();
    let mut files = vec![
        file("dbhaul-nightly.service", service(plan, "Back up the databases", "nightly", "4h", true)),
        file(
            BACKUP_TIMER,
            timer("Back up the databases every night", &format!("*-*-* {}:00 {zone}", plan.at)),
        ),
    ];
    if let Some(rehearse) = plan.rehearse {
        // Waits for a backup that takes long, so that both do not compete for the host.
        let command = "nightly --rehearse --wait 4h";
        files.push(file(
            "dbhaul-rehearse.service",
            service(plan, "Rehearse the newest backup", command, "12h", false),
        ));
        let calendar = format!("{} *-*-* {}:00 {zone}", rehearse.day, rehearse.time.format("%H:%M"));
        files.push(file(REHEARSAL_TIMER, timer("Rehearse the newest backup every week", &calendar)));
    }
    files
}

fn timer(description: &str, calendar: &str) -> String {
    format!(
        "[Unit]
Description={description}

[Timer]
# A fixed time zone, independent of the host's (systemd 235 and newer).
OnCalendar={calendar}
RandomizedDelaySec=5min
# A run that was missed while the host was off is started at the next boot.
Persistent=true
AccuracySec=1min

[Install]
WantedBy=timers.target
"
    )
}

fn service(plan: &Plan, description: &str, command: &str, longest: &str, strict: bool) -> String {
    let Plan { user, config, binary, .. } = plan;
    let writes: String = plan.writes.iter().map(|folder| format!("ReadWritePaths=-{folder}\n")).collect();
    // Rehearsals start PostgreSQL, whose JIT compiler generates code.
    let strict = if strict { "MemoryDenyWriteExecute=yes\n" } else { "" };
    format!(
        "[Unit]
Description={description} with dbhaul
Documentation=man:systemd.timer(5)
Wants=network-online.target
After=network-online.target docker.service

[Service]
Type=oneshot
User={user}
WorkingDirectory=/var/lib/dbhaul
StateDirectory=dbhaul
StateDirectoryMode=0700
Environment=DBHAUL_CONFIG={config}
# DB_PASSWORD=… and REDISCLI_AUTH=…, readable by root only (chmod 600).
EnvironmentFile=-/etc/dbhaul/environment
ExecStart={binary} --quiet {command}
# SIGTERM ends a run cleanly: nothing incomplete is listed, and the failure is reported.
TimeoutStartSec={longest}
TimeoutStopSec=60
# Databases come first: between services CPUWeight decides, and not niceness.
CPUWeight=20
Nice=10
IOSchedulingClass=idle

UMask=0077
CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
{strict}LockPersonality=yes
PrivateDevices=yes
PrivateTmp=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
{writes}RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
"
    )
}
