"""A bare thread pool with sessions of requests, as the yardstick for concurrent calls to WeChat.

Also a script, to run in a process of its own: it reads JSON and writes the seconds.
"""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests

# Odoo adds this to the niceness of its cron workers. On a busy machine a pool with another niceness would measure the
# operating system's scheduler.
CRON_NICENESS = 10


def post_all(url: str, payloads: list[dict], threads: int) -> float:
    """Post payloads as JSON by threads that have a session each; return the seconds that it took.

    :param url: with the access token in its query
    :raise AssertionError: an answer is not WeChat's answer to a success
    """
    local = threading.local()

    def post(payload: dict) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        data = json.dumps(payload, ensure_ascii=False).encode()
        answer = local.session.post(url, data=data, timeout=60).json()
        assert not answer.get("errcode"), answer

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(post, payloads))
    return time.perf_counter() - began


def time_posts(url: str, payloads: list[dict], threads: int, niceness: int = 0) -> float:
    """Do what `post_all` does in a process of its own.

    :param niceness: of that process, beside ours
    """
    command = ["nice", "-n", str(niceness), sys.executable, __file__]
    task = json.dumps({"url": url, "payloads": payloads, "threads": threads})
    result = subprocess.run(command, input=task, text=True, check=True, stdout=subprocess.PIPE)
    return float(result.stdout)


if __name__ == "__main__":
    sys.stdout.write(str(post_all(**json.load(sys.stdin))))
