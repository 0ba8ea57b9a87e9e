//! A connection from inside a container, over standard input and output of `docker exec`.

use crate::process::Line;

/// Connects standard input and output with a port of the container, with whatever the image has: bash, busybox's nc,
/// perl, or another nc. It ends when the server closes or the input ends, so that nothing is left in the container.
/// It contains no newline and no backslash, because of the shells of remote hosts.
const RELAY: &str = "if command -v bash >/dev/null 2>&1; then exec bash -c '\
    exec 3<>\"/dev/tcp/127.0.0.1/$1\" || exit 1; exec 4<&0; \
    { cat <&4 >&3; kill $$; } >/dev/null 2>&1 & exec cat <&3 4<&-' bash \"$1\"; \
    elif nc --help 2>&1 | grep -qi busybox; then exec nc 127.0.0.1 \"$1\"; \
    elif command -v perl >/dev/null 2>&1; then exec perl -MIO::Socket::INET -e '\
    $s = IO::Socket::INET->new(PeerAddr => \"127.0.0.1:$ARGV[0]\") or die \"perl: $@\"; $m = $$; \
    unless (fork) { close STDOUT; close STDERR; while (sysread(STDIN, $b, 65536)) { $o = 0; while ($o < length $b) { \
    $n = syswrite($s, $b, length($b) - $o, $o) or last; $o += $n } } kill 15, $m; exit } \
    while (sysread($s, $b, 65536)) { $o = 0; while ($o < length $b) { \
    $n = syswrite(STDOUT, $b, length($b) - $o, $o) or exit; $o += $n } }' \"$1\"; \
    elif command -v nc >/dev/null 2>&1; then exec nc 127.0.0.1 \"$1\"; \
    else echo 'the image has none of bash, nc and perl' >&2; exit 126; fi";

/// The command that runs it.
pub(super) fn line(program: &str, id: &str, name: &str, port: u16) -> Line {
    let port = port.to_string();
    Line::new(format!("docker exec `{name}`"), program, &["exec", "-i", id, "sh", "-c", RELAY, "sh", &port])
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;

    /// Runs the relay as in a container with only these programs.
    fn relayed(programs: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        for program in programs {
            let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
                .map(|path| path.join(program))
                .find(|path| path.exists());
            let found = found.unwrap_or_else(|| panic!("no {program} here"));
            std::os::unix::fs::symlink(found, folder.path().join(program)).unwrap();
        }
        relayed_in(folder.path());
    }

    fn relayed_in(folder: &std::path::Path) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = line("docker", "ab", "c", listener.local_addr().unwrap().port());
        let start = || {
            let mut command = Command::new(folder.join("sh"));
            command.args(line.arguments.iter().skip(4)).env("PATH", folder);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        // The server closes the connection.
        let mut child = start();
        let (mut server, _) = listener.accept().unwrap();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let mut stdin = child.stdin.take().unwrap();
        let writing = {
            let sent = sent.clone();
            std::thread::spawn(move || stdin.write_all(&sent).map(|()| stdin))
        };
        let mut got = vec![0; sent.len()];
        server.read_exact(&mut got).unwrap();
        assert!(got == sent);
        let _stdin = writing.join().unwrap().unwrap();
        let serving = std::thread::spawn(move || server.write_all(&sent).map(|()| sent));
        let mut back = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut back).unwrap();
        assert!(back == serving.join().unwrap().unwrap());
        child.wait().unwrap();
        // The client disconnects.
        let mut child = start();
        let (mut server, _) = listener.accept().unwrap();
        drop(child.stdin.take());
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
        drop(server);
        child.wait().unwrap();
    }

    #[test]
    fn bash_relays() {
        relayed(&["sh", "bash", "cat"]);
    }

    /// As in Alpine images.
    #[test]
    #[allow(clippy::print_stderr, reason = "a skipped test must be seen")]
    fn busybox_relays() {
        let busybox = std::path::Path::new("/bin/busybox");
        if !busybox.exists() {
            eprintln!("SKIPPED: no busybox here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        for applet in ["sh", "nc", "grep", "cat"] {
            std::os::unix::fs::symlink(busybox, folder.path().join(applet)).unwrap();
        }
        relayed_in(folder.path());
    }

    #[test]
    fn perl_relays() {
        relayed(&["sh", "perl", "grep"]);
    }
}
