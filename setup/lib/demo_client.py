"""What setup/demo does over HTTP: wait for a server, play the demo merchants' scans, write down where everything is."""

import argparse
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import requests


def wait(url: str, pid: int, seconds: float) -> None:
    """Return when process `pid` listens on the port of `url` and answers 200 there.

    Exits with status 1 when the process has ended, when another program answers in its place, or after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            status = requests.get(url, timeout=30).status_code
        except requests.RequestException:
            status = None
        # Asked after the answer: a server that could not have the port is then known not to be the one that answered.
        try:
            listens = urlsplit(url).port in listening_ports(pid)
        except psutil.NoSuchProcess:
            sys.exit(f"process {pid} has ended")
        if status is not None and not listens:
            sys.exit(f"another program answers at {url}")
        if status == requests.codes.ok:
            return
        time.sleep(0.2)
    sys.exit(f"no answer at {url} within {seconds:g} s")


def listening_ports(pid: int) -> set[int]:
    """Return the TCP ports on which a process listens.

    :raise psutil.NoSuchProcess: it has ended
    """
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(pid)
    return {
        connection.laddr.port
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def replay(sandbox_url: str, file: Path) -> None:
    """Let the sandbox's users scan and unfollow as `file` says: {"scans": [{"user", "content"}], "unfollow": [user]}.

    :raise requests.HTTPError: the sandbox refused one
    :raise SystemExit: Odoo did not take what the sandbox pushed; the sandbox itself answers 200 then
    """
    plan = json.loads(file.read_text(encoding="utf-8"))
    with requests.Session() as session:
        steps = [("scan", scan) for scan in plan["scans"]] + [("unfollow", {"user": user}) for user in plan["unfollow"]]
        for action, body in steps:
            response = session.post(f"{sandbox_url}/sandbox/{action}", json=body, timeout=60)
            response.raise_for_status()
            answer = response.json()
            if not answer["ok"]:
                sys.exit(f"{action} by {body['user']}: the push failed: {answer['error']}")


def describe(file: Path, args: argparse.Namespace) -> None:
    """Write `file`, from which the walkthrough and other tools learn how to reach the demo.

    Only its owner may read it, for it holds the password.
    """
    content = {
        "url": args.url,
        "database": args.database,
        "login": args.login,
        "password": args.password,
        "sandbox_url": args.sandbox_url,
        "python": sys.executable,
        "pids": {"odoo": args.odoo_pid, "sandbox": args.sandbox_pid},
    }
    temporary = file.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(file)


def main() -> None:
    """Dispatch the sub command."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("wait")
    command.add_argument("url")
    command.add_argument("pid", type=int)
    command.add_argument("seconds", type=float)
    command = commands.add_parser("replay")
    command.add_argument("sandbox_url")
    command.add_argument("file", type=Path)
    command = commands.add_parser("describe")
    command.add_argument("file", type=Path)
    for name in ("url", "database", "login", "password", "sandbox-url"):
        command.add_argument(f"--{name}", required=True)
    for name in ("odoo-pid", "sandbox-pid"):
        command.add_argument(f"--{name}", required=True, type=int)
    args = parser.parse_args()
    if args.command == "wait":
        wait(args.url, args.pid, args.seconds)
    elif args.command == "replay":
        replay(args.sandbox_url, args.file)
    else:
        describe(args.file, args)


if __name__ == "__main__":
    main()
