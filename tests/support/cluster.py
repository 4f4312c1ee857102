"""A PostgreSQL server of a test's own, that may be restarted while all others go on."""

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
    # The machine stays up, so what is written is not lost; a commit is written before it is told, as in production.
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=on",
)
SUPERUSER = "odoo"


class Cluster:
    """The server. It refuses to run as root, so that root lends it to the user postgres."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.prefix = []
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            self.prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "env", "HOME=/"]
        make = ("initdb", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        self._run(*make, "-U", SUPERUSER, "-D", str(folder / "data"))

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = " ".join(f"-c '{option}'" for option in OPTIONS)
        self._control("start", "-l", str(self.folder / "log"), "-o", f"-k '{self.folder}' {options}")

    def stop(self) -> None:
        """End it at once, without a checkpoint, as a crash does: the next start has to recover."""
        self._control("stop", "-m", "immediate")

    def load(self, dump: bytes, database: str) -> None:
        """Make a database of what pg_dump wrote."""
        with self.used():
            subprocess.run(["createdb", "-T", "template0", database], check=True)
            command = ["psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--output=/dev/null", database]
            subprocess.run(command, input=dump, check=True)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let everything that this process connects or starts use it."""
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
        # It may not enter the folder that the tests run in, and must not hold on to their output.
        nothing = subprocess.DEVNULL
        command = [*self.prefix, shutil.which(command[0]), *command[1:]]
        subprocess.run(command, check=True, cwd="/", stdin=nothing, stdout=nothing, stderr=nothing)


@contextmanager
def own_cluster(template: str) -> Iterator[Cluster]:
    """Start a server with a copy of one database, and forget it at the end."""
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
