"""The nginx of docker-compose.yml, with its own configuration, before an Odoo with two workers."""

import json
import os
import re
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

import pytest
import requests
import websocket
from support import pushes
from support.deployment import Nginx, running_nginx
from support.odoo import OdooServer, free_port, wait_for

# Each test uses addresses of its own, so that no test uses up another one's budget.
WECHAT, WECHAT_BESIDE, FLOOD, SLOW, FORGER, PHONES = (f"127.0.0.{last}" for last in range(11, 17))
FLOODERS = 4
BURST = 200
SLOW_CLIENTS = 10
# nginx closes a connection that is idle for 5 seconds.
PATIENCE_SECONDS = 5


def places(server: OdooServer) -> tuple[str, str]:
    """Return where a server takes requests, and where websockets."""
    return f"127.0.0.1:{server.port}", f"127.0.0.1:{server.gevent_port}"


@pytest.fixture(scope="module")
def nginx(prefork):
    """The proxy as .env.example sets it up."""
    with running_nginx(*places(prefork)) as nginx:
        yield nginx


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers of the request, by their names in lower case."""

    def do_GET(self):
        headers = {}
        for name, value in self.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(headers).encode())

    def log_message(self, *_args):
        """Say nothing."""


@pytest.fixture
def echo():
    """The proxy before a server that tells what reaches it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        with running_nginx(http=address, bus=address) as nginx:
            yield nginx
        server.shutdown()


@pytest.fixture
def channel(system, nginx):
    """WeChat's way to Odoo, through the proxy."""
    return system.channel.at(nginx.url)


def click(channel: pushes.Channel) -> pushes.Push:
    """Return a push that binds nothing."""
    return pushes.seal(channel, pushes.event_xml(channel, pushes.new_openid(), "CLICK", "menu"))


def unsigned(push: pushes.Push) -> pushes.Push:
    """Return the push with signatures of a wrong token."""
    return replace(push, query={**push.query, "signature": "0" * 40, "msg_signature": "0" * 40})


def send_all(sent: list[pushes.Push], channel: pushes.Channel, session: requests.Session) -> list[pushes.Answer]:
    """Deliver pushes all at once."""
    with ThreadPoolExecutor(len(sent)) as pool:
        return list(pool.map(lambda push: push.send(channel, session), sent))


def entries(nginx: Nginx, **fields: object) -> list[dict]:
    """Return the entries of the access log with these fields, once there are any: nginx answers before it logs."""

    def find() -> list[dict]:
        return [entry for entry in nginx.requests() if fields.items() <= entry.items()]

    return wait_for(find, f"nginx logs {fields}", 10)


def test_scan_binds_through_the_proxy(system, nginx, channel):
    """A merchant opens the page behind the link and scans; WeChat's push arrives over TLS and is replied to."""
    partner = system.merchant("苏堤春晓丝绸行")
    code = system.code(partner)
    page = nginx.url + urlsplit(code["share_url"]).path
    phone = nginx.client(PHONES)
    assert "有效期至" in phone.get(page).text
    assert phone.get(f"{page}/code.png").headers["Content-Type"] == "image/png"
    check = phone.get(channel.url, params={**click(channel).query, "echostr": "7318"})
    assert (check.status_code, check.text) == (200, "7318")

    answer = pushes.scan(channel, pushes.new_openid(), code["scene_str"]).send(channel, nginx.client(WECHAT))

    assert "绑定成功" in answer.text
    assert system.state(partner) == "bound"
    assert phone.get(f"{page}/state").json() == {"state": "bound"}


def test_websocket_is_upgraded(system, nginx, channel):
    """The open dialog learns of a scan: the websocket is upgraded, and what Odoo's bus says comes through it."""
    partner = system.merchant("曲院风荷茶行")
    code = system.code(partner)
    connection = websocket.create_connection(
        f"{nginx.url.replace('https', 'wss')}/websocket",
        sslopt={"ca_certs": str(nginx.certificate)},
        cookie=f"session_id={system.admin.cookies['session_id']}",
        origin=nginx.url,
        timeout=30,
    )
    try:
        connection.send(json.dumps({"event_name": "subscribe", "data": {"channels": [], "last": 0}}))
        pushes.scan(channel, pushes.new_openid(), code["scene_str"]).send(channel, nginx.client(WECHAT))

        def hears() -> bool:
            heard = [notification["message"] for notification in json.loads(connection.recv())]
            return any(
                message["type"] == "wechat_merchant_bind/partner" and partner in message["payload"]["ids"]
                for message in heard
            )

        wait_for(hears, "the bus tells of the scan", 30)
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/web/database/manager",
        "/web/database/selector",
        "/web/database/list",
        "//web//database/manager",
        "/web/%64atabase/manager",
    ],
)
def test_databases_are_closed(nginx, prefork, path):
    """Odoo's page for databases is unreachable in every spelling of its address."""
    with nginx.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {nginx.domain}\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 404 ")
    assert entries(nginx, status=404)[-1]["upstream_status"] == ""


def test_other_names_are_refused(nginx):
    """http leads to https but for the certificate authority; another name than ours gets to nothing."""
    client = nginx.client()
    plain = f"http://127.0.0.1:{nginx.http_port}"
    (nginx.acme / ".well-known" / "acme-challenge").mkdir(parents=True)
    (nginx.acme / ".well-known" / "acme-challenge" / "token").write_text("key")
    assert client.get(f"{plain}/.well-known/acme-challenge/token").text == "key"
    answer = client.get(f"{plain}/web/login?a=b", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (301, "https://localhost/web/login?a=b")
    with pytest.raises(requests.exceptions.SSLError, match=r"(?i)unrecognized.name"):
        client.get(f"https://127.0.0.1:{nginx.https_port}/web/login")
    assert client.get(f"{nginx.url}/web/login", headers={"Host": "evil.example"}).status_code == 421


def test_large_body_is_refused(system, nginx, channel):
    """A push that is too large never gets to Odoo; one of the largest size that the addon takes does."""
    push = click(channel)
    client = nginx.client(WECHAT)
    too_large = replace(push, body=push.body.ljust(64 * 1024 + 1)).send(channel, client)
    assert too_large.status == 413
    assert entries(nginx, address=WECHAT, status=413)[-1]["upstream_status"] == ""
    assert replace(push, body=push.body.ljust(64 * 1024)).send(channel, client).status == 200


def test_burst_of_receipts_is_let_through(nginx, channel, full_form):
    """A mass mailing's receipts come from one address, all at once: the limits let them through, and Odoo answers."""
    sent = [click(channel) for _number in range(BURST if full_form else BURST // 4)]
    answers = send_all(sent, channel, nginx.client(WECHAT_BESIDE))
    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < pushes.WECHAT_WAITS


def test_flood_uses_up_its_own_budget(system, prefork):
    """A flood of the webhook uses up the budget of its own address; WeChat's pushes are served."""
    rate, burst = 10, 20
    statuses = []
    is_over = Event()

    def flood(channel: pushes.Channel, client: requests.Session, bad: pushes.Push) -> None:
        while not is_over.is_set():
            statuses.append(bad.send(channel, client).status)

    with (
        running_nginx(*places(prefork), WEBHOOK_RATE=rate, WEBHOOK_BURST=burst) as nginx,
        ThreadPoolExecutor(FLOODERS) as pool,
    ):
        channel = system.channel.at(nginx.url)
        began = time.monotonic()
        flooders = [
            pool.submit(flood, channel, nginx.client(FLOOD), unsigned(click(channel))) for _number in range(FLOODERS)
        ]
        try:
            wait_for(lambda: statuses.count(429) > FLOODERS, "the flood's budget is used up")
            answers = [click(channel).send(channel, nginx.client(WECHAT)) for _number in range(burst)]
        finally:
            is_over.set()
        for flooder in flooders:
            flooder.result()
        seconds = time.monotonic() - began
        reached = sum(1 for entry in entries(nginx, address=FLOOD) if entry["upstream_status"])
    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < pushes.WECHAT_WAITS
    assert set(statuses) == {403, 429}
    assert reached <= burst + 1 + rate * (seconds + 1)


def test_limits_count_by_network(echo):
    """An IPv6 client has one budget whichever of its addresses it takes, and takes nothing of the next network's."""

    def statuses(addresses: list[str]) -> list[int]:
        url = f"{proxy.url}/wechat/merchant/x?signature=x"
        return [client.get(url, headers={"X-Client": address}).status_code for address in addresses]

    upstream = echo.environment["ODOO_HTTP"]
    with running_nginx(
        upstream,
        upstream,
        directives="set_real_ip_from 127.0.0.1; real_ip_header X-Client;",
        WEBHOOK_RATE=1,
        WEBHOOK_BURST=5,
    ) as proxy:
        client = proxy.client()
        # More than a client may send in the time that they take.
        assert 429 in statuses([f"2001:db8:0:a::{number:x}:1" for number in range(40)])
        others = [f"2001:db8:0:{number:x}::1" for number in range(16, 48)]
        assert set(statuses(others)) == {200}
        assert set(statuses([f"198.51.100.{number}" for number in range(40)])) == {200}


def test_renewed_certificate_is_served(tmp_path):
    """A renewed certificate is served to new connections, and a request that is under way is answered."""
    holds, goes_on = Event(), Event()

    class Slow(Echo):
        def do_GET(self):
            holds.set()
            goes_on.wait(30)
            super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server, ThreadPoolExecutor(1) as pool:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        with running_nginx(http=address, bus=address) as nginx:
            before = served_certificate(nginx)
            slow = pool.submit(nginx.client().get, f"{nginx.url}/slow")
            assert holds.wait(30)
            try:
                install_certificate(nginx, tmp_path)
                wait_for(lambda: served_certificate(nginx) != before, "nginx serves another certificate")
                assert served_certificate(nginx).split() == (tmp_path / "new.pem").read_text().split()
            finally:
                goes_on.set()
            assert slow.result().status_code == 200
        server.shutdown()


def served_certificate(nginx: Nginx) -> str:
    """Return the certificate that a new connection is shown, in PEM."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", nginx.https_port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=nginx.domain) as connection,
    ):
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))


def install_certificate(nginx: Nginx, folder: Path) -> None:
    """Run setup/docker/install-certificate with a `docker` that runs commands here and not in a container."""
    command = "openssl req -x509 -newkey ed25519 -nodes -subj /CN=localhost -keyout new.key -out new.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    docker = folder / "docker"
    docker.write_text(
        f"""#!/bin/sh
case "$2" in
    ps) echo 1f2e ;;
    exec) shift 5; exec "$NGINX_BIN" $(echo "$@" | sed "s|/run/nginx|{nginx.run}|g") ;;
    *) exit 1 ;;
esac
"""
    )
    docker.chmod(0o755)
    command = [nginx.repository / "setup/docker/install-certificate", folder / "new.pem", folder / "new.key"]
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "NGINX_BIN": os.environ["NGINX_BIN"]}
    subprocess.run(command, check=True, capture_output=True, env=environment)


def test_unsigned_push_is_refused_by_nginx(nginx, channel):
    """What is not even signed is refused as a wrong signature is, without a request to Odoo."""
    answer = replace(click(channel), query={}).send(channel, nginx.client(FORGER))
    assert answer.status == 403
    assert entries(nginx, address=FORGER, status=403)[-1]["upstream_status"] == ""


def test_slow_clients_are_cut_off(nginx, channel):
    """Clients that never finish their request hold no worker of Odoo, and are cut off."""
    path = urlsplit(channel.url).path
    head = f"POST {path}?signature=x HTTP/1.1\r\nHost: {nginx.domain}\r\n"
    half_a_head, half_a_body = head.encode(), f"{head}Content-Length: 1000\r\n\r\n<xml>".encode()
    with ExitStack() as stack:
        connections = []
        for number in range(SLOW_CLIENTS):
            connection = stack.enter_context(nginx.connect(SLOW))
            connection.sendall(half_a_body if number % 2 else half_a_head)
            connections.append(connection)
        began = time.monotonic()
        assert click(channel).send(channel, nginx.client(WECHAT)).status == 200
        assert time.monotonic() - began < PATIENCE_SECONDS - 1
        for connection in connections:
            connection.settimeout(4 * PATIENCE_SECONDS)
            assert is_cut_off(connection)
    assert not any(entry["upstream_status"] for entry in entries(nginx, address=SLOW))


def is_cut_off(connection: socket.socket) -> bool:
    """Tell whether the other side gives up before the connection's time is over."""
    try:
        while connection.recv(1000):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_client_address_is_set_by_nginx(system, nginx, prefork, channel):
    """Odoo gets the client's address and protocol from nginx, not from the client."""
    start = prefork.log.stat().st_size
    session = nginx.client(FORGER)
    session.headers.update({"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example"})
    assert unsigned(click(channel)).send(channel, session).status == 403
    [address] = wait_for(
        lambda: re.findall(r"without a valid signature from=(\S+)", prefork.read_log(start)), "Odoo logs the refusal"
    )
    assert address == FORGER
    cookie = session.get(f"{nginx.url}/web/login").headers["Set-Cookie"].lower()
    assert "secure" in cookie and "samesite=lax" in cookie


def test_forwarded_headers_are_replaced(echo):
    """Neither route hands on what a client says about itself."""
    claims = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
    # nginx reads our name with an odd port; a URL built from it would lead to another host.
    claims["Host"] = f"{echo.domain}:@evil.example"
    for path in ("/web/login", "/websocket", "/wechat/bind/x", "/wechat/merchant/x?signature=x"):
        headers = echo.client(FORGER).get(echo.url + path, headers=claims).json()
        assert headers["x-forwarded-for"] == [FORGER]
        assert headers["x-forwarded-proto"] == ["https"]
        assert headers["x-forwarded-host"] == headers["host"] == [echo.domain]


def test_log_has_no_secrets(system, channel):
    """Access log and error log hold no secret address, also after errors."""
    code = system.code(system.merchant("柳浪闻莺布庄"))
    share = urlsplit(code["share_url"]).path
    key = urlsplit(channel.url).path.rsplit("/", 1)[1]
    push = click(channel)
    closed = f"127.0.0.1:{free_port()}"
    with running_nginx(closed, closed, WEBHOOK_RATE=1, WEBHOOK_BURST=1) as nginx:
        channel = channel.at(nginx.url)
        client = nginx.client(WECHAT)
        statuses = [push.send(channel, client).status for _number in range(4)]
        statuses.append(replace(push, body=push.body.ljust(70_000)).send(channel, nginx.client(FLOOD)).status)
        reset = "/web/reset_password?token=7c1f"
        for path in (share, f"{share}/state", f"/{share}", share.replace("/bind/", "/undo/"), reset):
            statuses.append(client.get(nginx.url + path).status_code)
        client.get(f"http://127.0.0.1:{nginx.http_port}{share}?signature=x", allow_redirects=False)
        log = nginx.log.read_text()
        logged = [entry["path"] for entry in nginx.requests()]
    assert set(statuses) == {413, 429, 502}
    assert "/wechat/merchant/***" in logged
    assert {"/wechat/bind/***", "/wechat/bind/***/state", "/wechat/undo/***"} < set(logged)
    for secret in (key, share.rsplit("/", 1)[1], "7c1f", "signature=", *push.query.values()):
        assert secret not in log
