"""docker-compose.yml as docker compose reads it, and its nginx in front of an Odoo of the tests."""

import json
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter

from support.odoo import free_port, wait_for
from support.system import REPOSITORY

COMPOSE = REPOSITORY / "docker-compose.yml"
DOCKER = REPOSITORY / "setup" / "docker"
# Adds IPv6 to it.
IPV6 = DOCKER / "ipv6.yml"
ENVIRONMENT = REPOSITORY / ".env.example"
TEMPLATE = DOCKER / "nginx.conf.template"
# The scripts for administrators, and the files of the clone that the containers mount.
COPIED = ("prepare", "install", "install-certificate", "odoo.conf", TEMPLATE.name)
# The user for nginx if the tests run as root.
UNPRIVILEGED = "nobody"


def read_compose(folder: Path = REPOSITORY, environment: Path = ENVIRONMENT, *further: Path) -> dict:
    """Return docker-compose.yml with everything filled in, by the real docker compose.

    :param folder: where the file is.
    :param environment: the file with the settings.
    :param further: files that add to it.
    :raise subprocess.CalledProcessError: if docker compose refuses it
    """
    command = ["docker-compose", "--project-directory", str(folder), "--file", str(folder / COMPOSE.name)]
    for file in further:
        command += ["--file", str(file)]
    command += ["--env-file", str(environment), "--profile", "sandbox", "config", "--format", "json"]
    # The tester's own variables would win over the file's.
    answer = subprocess.run(command, check=True, capture_output=True, env={"PATH": os.environ["PATH"]})
    return json.loads(answer.stdout)


def prepare(folder: Path, domain: str) -> None:
    """Run setup/docker/prepare in a copy of the repository's files."""
    (folder / "setup" / "docker").mkdir(parents=True)
    for file in (COMPOSE, ENVIRONMENT, *(DOCKER / name for name in COPIED)):
        shutil.copy2(file, folder / file.relative_to(REPOSITORY))
    command = [folder / "setup" / "docker" / "prepare", domain]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": os.environ["PATH"]})


class Nginx:
    """The proxy of docker-compose.yml in a process of its own: the file's command, template and settings.

    Only addresses and the folders of the certificate and the challenges differ.
    """

    domain = "localhost"

    def __init__(self, folder: Path, http: str, bus: str, directives: str = "", **settings: object):
        self.repository = folder / "repository"
        prepare(self.repository, self.domain)
        model = read_compose(self.repository, self.repository / ".env")
        self.service = model["services"]["nginx"]
        self.run = folder / "run"
        self.acme = folder / "acme"
        for path in (self.run, self.acme):
            path.mkdir()
        self.log = folder / "log"
        self.log.touch()
        self.http_port, self.https_port = free_port(), free_port()
        self.url = f"https://{self.domain}:{self.https_port}"
        self.certificate = Path(model["secrets"]["tls_certificate"]["file"])
        self.environment = {
            **self.service["environment"],
            "HTTP_LISTEN": f"127.0.0.1:{self.http_port}",
            "HTTPS_LISTEN": f"127.0.0.1:{self.https_port}",
            "ODOO_HTTP": http,
            "ODOO_BUS": bus,
            "TLS_CERTIFICATE": str(self.certificate),
            "TLS_KEY": model["secrets"]["tls_key"]["file"],
            "ACME_ROOT": str(self.acme),
            **{name: str(value) for name, value in settings.items()},
        }
        self.conf = self.run / "nginx.conf"
        self._fill_in()
        self.conf.write_text(self.conf.read_text().replace("http {\n", f"http {{\n{directives}\n", 1))
        self.process = self._start(folder)

    def _fill_in(self) -> None:
        """Fill the environment into the template, as the image's start script does."""
        names = " ".join(f"${{{name}}}" for name in self.environment)
        with TEMPLATE.open("rb") as source, self.conf.open("wb") as target:
            subprocess.run(
                ["envsubst", names],
                stdin=source,
                stdout=target,
                check=True,
                env={"PATH": os.environ["PATH"], **self.environment},
            )

    def _start(self, folder: Path) -> subprocess.Popen:
        [program, *arguments] = self.service["command"]
        assert program == "nginx"
        place = self.service["environment"]["NGINX_ENVSUBST_OUTPUT_DIR"]
        command = [os.environ["NGINX_BIN"], *(argument.replace(place, str(self.run)) for argument in arguments)]
        options = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam(UNPRIVILEGED)
            options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, UNPRIVILEGED)
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)

    def wait(self) -> None:
        """Return when nginx serves its own health check.

        :raise AssertionError: it ended or does not answer in time
        """
        address = self.service["healthcheck"]["test"][-1].replace(":8080/", f":{self.http_port}/")

        def answers() -> bool:
            assert self.process.poll() is None, f"nginx ended by itself: {self.log.read_text()}"
            try:
                return requests.get(address, timeout=5).ok
            except requests.ConnectionError:
                return False

        wait_for(answers, "nginx answers", 20)

    def stop(self) -> None:
        """Stop nginx and its workers."""
        self.process.terminate()
        self.process.wait()

    def client(self, address: str = "127.0.0.1") -> requests.Session:
        """Return a client that trusts the certificate and comes from one of this machine's loopback addresses."""
        session = requests.Session()
        session.verify = str(self.certificate)
        session.trust_env = False
        session.mount("https://", FromAddress(address))
        session.mount("http://", FromAddress(address))
        return session

    def connect(self, address: str = "127.0.0.1") -> ssl.SSLSocket:
        """Return a raw connection."""
        plain = socket.create_connection(("127.0.0.1", self.https_port), timeout=30, source_address=(address, 0))
        context = ssl.create_default_context(cafile=self.certificate)
        return context.wrap_socket(plain, server_hostname=self.domain)

    def requests(self) -> list[dict]:
        """Return the entries of the access log, oldest first."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


class FromAddress(HTTPAdapter):
    """Connections that come from an address of this machine, as if from another client."""

    def __init__(self, address: str):
        self.address = address
        super().__init__(pool_maxsize=64)

    def init_poolmanager(self, *args: object, **options: object) -> None:
        super().init_poolmanager(*args, source_address=(self.address, 0), **options)


@contextmanager
def running_nginx(http: str, bus: str, directives: str = "", **settings: object) -> Iterator[Nginx]:
    """Start nginx, and stop it at the end.

    :param http: address and port of the server for requests.
    :param bus: address and port of the server for websockets.
    :param directives: further directives of nginx, for all its servers.
    :param settings: values that replace those of .env.
    """
    # Not below pytest's folder, into which only the tester may look.
    with tempfile.TemporaryDirectory(prefix="wechat-nginx-") as folder:
        nginx = Nginx(Path(folder), http, bus, directives, **settings)
        try:
            nginx.wait()
            yield nginx
        finally:
            nginx.stop()
