"""Private PostgreSQL servers for the benchmarks, from the distribution's packages."""
import glob, os, pwd, socket, subprocess

SETTINGS = ("-c fsync=off -c shared_buffers=256MB -c max_wal_size=4GB -c max_locks_per_transaction=1024 "
            "-c autovacuum=off")


def binaries():
    """The folder of the programs of the oldest server installed, or None."""
    return next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin"))), None)


class Server:
    """A server on a free port, with its data in a folder inside `work`. As root, it runs as `postgres`."""

    def __init__(self, work, name):
        self.bin, self.work, self.data = binaries(), work, f"{work}/{name}"
        self.as_user = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chmod(work, 0o755)
            os.chown(work, user.pw_uid, user.pw_gid)
            self.as_user = ["runuser", "-u", "postgres", "--"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"postgres://postgres@127.0.0.1:{port}"
        options = f"-p {port} -h 127.0.0.1 -k {work} {SETTINGS}"
        self.run("initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C")
        self.run("pg_ctl", "-D", self.data, "-w", "-l", f"{self.data}.log", "-o", options, "start")

    def run(self, program, *arguments):
        command = self.as_user + [f"{self.bin}/{program}", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.work)

    def stop(self):
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")

    def psql(self, database, *statements):
        """Runs statements, each in its own transaction, and returns their output."""
        command = [f"{self.bin}/psql", "-qXAt", "-v", "ON_ERROR_STOP=1", f"{self.url}/{database}"]
        quiet = dict(os.environ, PGOPTIONS="-c client_min_messages=warning")
        script = ";\n".join(statements) + ";"
        return subprocess.run(command, input=script, check=True, stdout=subprocess.PIPE, text=True, env=quiet).stdout.strip()

    def database(self, name):
        """Creates an empty database, replacing one of the same name."""
        self.psql("postgres", f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
        return f"{self.url}/{name}"
