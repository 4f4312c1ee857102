"""A PostgreSQL server for one test, which may be restarted without disturbing other tests."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OPTIONS = (
    "listen_addresses=",
    "max_connections=100",
    # The machine stays up, so writes without fsync survive. Commits are synchronous, as in production.
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=on",
)
SUPERUSER = "odoo"


class Cluster:
    """The server. PostgreSQL refuses to run as root, so root starts it as the user postgres."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.prefix = []
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            self.prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "env", "HOME=/"]
        make = ("initdb", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        self._run(*make, "-U", SUPERUSER, "-D", str(folder / "data"))

    def start(self) -> None:
        """Start the server and wait for its answer."""
        options = " ".join(f"-c '{option}'" for option in OPTIONS)
        self._control("start", "-l", str(self.folder / "log"), "-o", f"-k '{self.folder}' {options}")

    def stop(self) -> None:
        """Stop the server without a checkpoint, as a crash does: the next start has to recover."""
        self._control("stop", "-m", "immediate")

    def load(self, dump: bytes, database: str) -> None:
        """Create a database from a dump of pg_dump."""
        with self.used():
            subprocess.run(["createdb", "-T", "template0", database], check=True)
            command = ["psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--output=/dev/null", database]
            subprocess.run(command, input=dump, check=True)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let this process and its children connect to the server."""
        mine = {"PGHOST": str(self.folder), "PGPORT": "5432", "PGUSER": SUPERUSER}
        others = {name: os.environ.get(name) for name in mine}
        os.environ.update(mine)
        try:
            yield
        finally:
            for name, value in others.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", *arguments)

    def _run(self, *command: str) -> None:
        # The user postgres may not enter the tests' folder, and the server must not keep their output open.
        nothing = subprocess.DEVNULL
        command = [*self.prefix, shutil.which(command[0]), *command[1:]]
        subprocess.run(command, check=True, cwd="/", stdin=nothing, stdout=nothing, stderr=nothing)


@contextmanager
def own_cluster(template: str) -> Iterator[Cluster]:
    """Start a server with a copy of one database, and remove it at the end."""
    dump = subprocess.run(["pg_dump", "--no-owner", template], check=True, capture_output=True).stdout
    # The path of a UNIX socket is short.
    with tempfile.TemporaryDirectory(prefix="wechat-bind-pg-") as folder:
        cluster = Cluster(Path(folder))
        cluster.start()
        try:
            cluster.load(dump, template)
            yield cluster
        finally:
            cluster.stop()
