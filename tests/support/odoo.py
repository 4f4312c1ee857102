"""Odoo's processes, and a client with the calls of the web client."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import requests

from support.database import odoo_command

START_SECONDS = 120
STOP_SECONDS = 30
CONTEXT = {"lang": "zh_CN", "tz": "Asia/Shanghai"}
T = TypeVar("T")
# Socket activation, as systemd does it for a socket unit: see sd_listen_fds(3).
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def free_port() -> int:
    """Return a port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listen(backlog: int) -> socket.socket:
    """Return a socket that listens on a free port, as systemd makes it."""
    listener = socket.socket()
    listener.setblocking(False)
    listener.bind(("127.0.0.1", 0))
    listener.listen(backlog)
    return listener


def wait_for(condition: Callable[[], T], what: str, seconds: float = 60) -> T:
    """Ask until `condition` returns something true, and return that.

    :raise AssertionError: it did not within `seconds`
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.1)
    return found


def timed(job: Callable[[], T]) -> tuple[T, float]:
    """Run a callable; return its result and how many seconds it took."""
    started = time.monotonic()
    return job(), time.monotonic() - started


def at_once(jobs: Iterable[Callable[[], T]]) -> list[T]:
    """Run callables in threads that start together; return their results in order."""
    jobs = list(jobs)
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], T]) -> T:
        barrier.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


class OdooServer:
    """One Odoo process (with workers: a family of processes) that serves one database."""

    def __init__(
        self,
        database: str,
        log: Path,
        workers: int = 0,
        cron_threads: int = 0,
        arguments: tuple[str, ...] = (),
        backlog: int | None = None,
        **environment: str,
    ):
        """Start the process.

        :param backlog: connections that may wait for a worker, as where systemd listens for Odoo; by itself it lets
            eight wait for each
        """
        listener = None if backlog is None else listen(backlog)
        self.port = listener.getsockname()[1] if listener else free_port()
        self.gevent_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        command = odoo_command("-d", database, "--no-database-list", "--logfile", str(log))
        command += ["--http-port", str(self.port), "--gevent-port", str(self.gevent_port)]
        command += ["--workers", str(workers), "--max-cron-threads", str(cron_threads)]
        command += arguments
        descriptors = ()
        if listener:
            descriptors = (listener.fileno(),)
            command = [sys.executable, "-c", ACTIVATE, str(listener.fileno()), *command]
        # A session of its own: Ctrl-C belongs to pytest, which stops the server in order.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **environment},
            pass_fds=descriptors,
        )
        if listener:
            listener.close()

    def wait(self) -> None:
        """Return when the server answers with a page of the database.

        :raise AssertionError: it ended or does not answer in time
        """

        def answers() -> bool:
            assert self.process.poll() is None, f"Odoo ended by itself: read {self.log}"
            try:
                return requests.get(f"{self.url}/web/login", timeout=START_SECONDS).ok
            except requests.ConnectionError:
                return False

        wait_for(answers, f"Odoo answers (log: {self.log})", START_SECONDS)

    def wait_for_websockets(self) -> None:
        """Return when the process that serves websockets beside the workers answers.

        :raise AssertionError: it does not in time
        """

        def answers() -> bool:
            try:
                return requests.get(f"http://127.0.0.1:{self.gevent_port}/websocket/health", timeout=START_SECONDS).ok
            except requests.ConnectionError:
                return False

        wait_for(answers, f"Odoo serves websockets (log: {self.log})", START_SECONDS)

    def stop(self) -> None:
        """Stop the process and its workers."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend the process, as a suspended or swapping machine does, and continue it at the end."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process and its workers. A second call does nothing."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def read_log(self, start: int = 0) -> str:
        """Return what was logged behind the byte `start`."""
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read().decode("utf-8", "replace")


class OdooError(Exception):
    """Odoo's answer to a call was an error. `name` is the exception's, the text is what a user would read."""

    def __init__(self, error: dict):
        data = error.get("data") or {}
        self.name = data.get("name", "")
        self.message = data.get("message") or error.get("message", "")
        super().__init__(f"{self.name}: {self.message}")


class WebClient:
    """A logged-in user. Threads may share it: each call is a request of its own with the session's cookie."""

    def __init__(self, url: str, database: str, login: str, password: str):
        self.url = url
        answer = requests.post(
            f"{url}/web/session/authenticate",
            json={"params": {"db": database, "login": login, "password": password}},
            timeout=START_SECONDS,
        )
        self.user_id = self._read(answer)["uid"]
        self.cookies = answer.cookies.get_dict()

    def at(self, url: str) -> "WebClient":
        """Return the same session at another Odoo process."""
        other = object.__new__(WebClient)
        other.url, other.user_id, other.cookies = url, self.user_id, self.cookies
        return other

    def call(self, model: str, method: str, *args: object, **kwargs: object) -> object:
        """Call a public method, in Chinese like the web client of a Chinese user.

        :raise OdooError: Odoo answers with an error
        """
        answer = requests.post(
            f"{self.url}/web/dataset/call_kw/{model}/{method}",
            json={"params": {"model": model, "method": method, "args": args, "kwargs": {"context": CONTEXT, **kwargs}}},
            cookies=self.cookies,
            timeout=START_SECONDS,
        )
        return self._read(answer)

    def read(self, model: str, ids: list[int], fields: list[str]) -> list[dict]:
        """Read records."""
        return self.call(model, "read", ids, fields, load=None)

    def find(self, model: str, domain: list, fields: list[str], **options: object) -> list[dict]:
        """Search and read records."""
        return self.call(model, "search_read", domain, fields, load=None, **options)

    def create(self, model: str, values: dict) -> int:
        """Create a record."""
        return self.call(model, "create", [values])[0]

    def _read(self, answer: requests.Response) -> object:
        answer.raise_for_status()
        content = answer.json()
        if "error" in content:
            raise OdooError(content["error"])
        return content.get("result")
