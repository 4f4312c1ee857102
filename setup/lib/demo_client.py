"""What setup/demo does over HTTP: wait for a server, play the demo merchants' scans, write down where everything is."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import requests


def wait(url: str, pid: int, seconds: float) -> None:
    """Return when `url` answers 200; exit with status 1 when process `pid` has ended or `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if requests.get(url, timeout=30).status_code == requests.codes.ok:
                return
        except requests.RequestException:
            pass
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.2)
    sys.exit(1)


def replay(sandbox_url: str, file: Path) -> None:
    """Let the sandbox's users scan and unfollow as `file` says: {"scans": [{"user", "content"}], "unfollow": [user]}.

    :raise requests.HTTPError: the sandbox refused one
    """
    plan = json.loads(file.read_text(encoding='utf-8'))
    with requests.Session() as session:
        steps = [('scan', scan) for scan in plan['scans']] + [('unfollow', {'user': user}) for user in plan['unfollow']]
        for action, body in steps:
            session.post(f'{sandbox_url}/sandbox/{action}', json=body, timeout=60).raise_for_status()


def describe(file: Path, args: argparse.Namespace) -> None:
    """Write `file`, from which the walkthrough and other tools learn how to reach the demo.

    Only its owner may read it, for it holds the password.
    """
    content = {
        'url': args.url,
        'database': args.database,
        'login': args.login,
        'password': args.password,
        'sandbox_url': args.sandbox_url,
        'python': sys.executable,
        'pids': {'odoo': args.odoo_pid, 'sandbox': args.sandbox_pid},
    }
    temporary = file.with_suffix('.new')
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    temporary.replace(file)


def main() -> None:
    """Dispatch the sub command."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    command = commands.add_parser('wait')
    command.add_argument('url')
    command.add_argument('pid', type=int)
    command.add_argument('seconds', type=float)
    command = commands.add_parser('replay')
    command.add_argument('sandbox_url')
    command.add_argument('file', type=Path)
    command = commands.add_parser('describe')
    command.add_argument('file', type=Path)
    for name in ('url', 'database', 'login', 'password', 'sandbox-url'):
        command.add_argument(f'--{name}', required=True)
    for name in ('odoo-pid', 'sandbox-pid'):
        command.add_argument(f'--{name}', required=True, type=int)
    args = parser.parse_args()
    if args.command == 'wait':
        wait(args.url, args.pid, args.seconds)
    elif args.command == 'replay':
        replay(args.sandbox_url, args.file)
    else:
        describe(args.file, args)


if __name__ == '__main__':
    main()
