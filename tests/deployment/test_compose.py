"""docker-compose.yml is valid for docker compose, and all that it names exists and fits together."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.deployment import COMPOSE, DOCKER, ENVIRONMENT, IPV6, TEMPLATE, prepare, read_compose
from support.system import REPOSITORY

ADDON = REPOSITORY / "wechat_merchant_bind"
# What the images bring along, by the Dockerfiles that they are built from: odoo:19.0 and nginx install curl, PostgreSQL
# its client. What they may write to is theirs as well: nginx and Odoo as they are configured, PostgreSQL its data and
# socket.
COMMANDS = {"odoo": "curl", "nginx": "curl", "db": "pg_isready", "sandbox": "python"}
WRITTEN = {
    "odoo": {"/var/lib/odoo", "/tmp"},
    "nginx": {"/run/nginx"},
    "db": {"/var/lib/postgresql/data", "/var/run/postgresql", "/tmp"},
    "sandbox": {"/var/lib/sandbox"},
}
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
# A mock of docker: it logs its arguments and answers each query of psql with the next line of the file "answers".
FAKE_DOCKER = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/calls"
case "$*" in
    "compose ps "*) echo 1f2e ;;
    *" psql "*)
        answer=$(head -n 1 "$here/answers")
        sed -i 1d "$here/answers"
        [ "$answer" != "no database" ] || exit 2
        echo "$answer" ;;
    *" odoo odoo "*) echo "Odoo's log" ;;
esac
"""


class Docker:
    """A mock of docker, first on the path."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        self.path = f"{folder}:{os.environ['PATH']}"
        (folder / "docker").write_text(FAKE_DOCKER)
        (folder / "docker").chmod(0o755)
        (folder / "calls").touch()

    @property
    def calls(self) -> list[str]:
        """The logged calls."""
        return (self.folder / "calls").read_text().splitlines()

    def answer(self, *answers: str) -> None:
        """Set psql's answers, one a query."""
        (self.folder / "answers").write_text("".join(f"{answer}\n" for answer in answers))


@pytest.fixture
def docker(tmp_path):
    """The mock of docker."""
    return Docker(tmp_path / "docker")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the deployment's files after setup/docker/prepare."""
    folder = tmp_path_factory.mktemp("deployment") / "repository"
    prepare(folder, "odoo.example.com")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    """The file as docker compose understands it with the settings that `prepare` has made."""
    return read_compose(folder, folder / ".env")


def file_variables(text: str) -> set[str]:
    """Return the names of the variables in capitals that a file asks for."""
    return set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)[}:]", text))


def manifest() -> dict:
    """Return the addon's manifest."""
    return eval((ADDON / "__manifest__.py").read_text())


def requirements(file: Path) -> dict[str, str]:
    """Return the pinned versions of a file of requirements."""
    lines = [line.split(";")[0].strip() for line in file.read_text().splitlines() if not line.startswith("#")]
    return dict(line.lower().split("==") for line in lines if line)


def test_file_follows_the_compose_specification():
    """The file is what the specification of Compose files says."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    subprocess.run(command, check=True, capture_output=True)


def test_settings_are_explained(folder):
    """Every setting that the file asks for is explained in .env.example, and no other; a missing name is said aloud."""
    settings = dict(re.findall(r"^([A-Z_]+)=(.*)$", ENVIRONMENT.read_text(), re.MULTILINE))
    assert file_variables(COMPOSE.read_text()) == set(settings)
    (folder / "nameless").write_text("HTTP_PORT=80\n")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        read_compose(folder, folder / "nameless")
    assert b"DOMAIN" in refused.value.stderr
    for name, value in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE.read_text()):
        assert value == settings[name], f"the default of {name} is another one in .env.example"


def test_prepare_keeps_its_secrets(folder, model):
    """`prepare` creates certificate and password once, readable for the containers only."""
    secrets = {name: Path(secret["file"]) for name, secret in model["secrets"].items()}
    assert all(secret.parent == folder / "setup" / "docker" / "secrets" for secret in secrets.values())
    assert secrets["tls_key"].parent.stat().st_mode & 0o777 == 0o700
    assert all(secret.stat().st_mode & 0o777 == 0o644 for secret in secrets.values())
    assert re.fullmatch(r"[0-9a-f]{48}\n", secrets["db_password"].read_text())
    shown = subprocess.run(
        ["openssl", "x509", "-in", secrets["tls_certificate"], "-noout", "-ext", "subjectAltName"],
        check=True,
        capture_output=True,
    )
    assert b"DNS:odoo.example.com" in shown.stdout
    before = {name: secret.read_bytes() for name, secret in secrets.items()}
    (folder / ".env").write_text((folder / ".env").read_text() + "WEBHOOK_RATE=250\n")
    subprocess.run([folder / "setup" / "docker" / "prepare", "other.example.com"], check=True, capture_output=True)
    assert {name: secret.read_bytes() for name, secret in secrets.items()} == before
    settings = read_compose(folder, folder / ".env")["services"]["nginx"]["environment"]
    assert (settings["DOMAIN"], settings["WEBHOOK_RATE"]) == ("odoo.example.com", "250")


def test_renewed_certificate_is_installed(folder, model, docker, tmp_path):
    """A renewed certificate is written into the files that the container has open, and only with its own key."""
    for name in ("new", "other"):
        subprocess.run(
            f"openssl req -x509 -newkey ed25519 -nodes -subj /CN={name} -keyout {name}.key -out {name}.pem".split(),
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    places = [Path(model["secrets"][name]["file"]) for name in ("tls_certificate", "tls_key")]
    # As the container has them, which does not see what takes a file's place.
    opened = [os.open(place, os.O_RDONLY) for place in places]

    def install(certificate: str, key: str) -> int:
        command = [folder / "setup/docker/install-certificate", certificate, key]
        return subprocess.run(
            command, cwd=tmp_path, env={"PATH": docker.path}, capture_output=True, check=False
        ).returncode

    assert install("new.pem", "other.key") != 0
    assert not docker.calls
    assert install("new.pem", "new.key") == 0
    given = [(tmp_path / f"new.{ending}").read_bytes() for ending in ("pem", "key")]
    assert [os.read(file, 10_000) for file in opened] == given
    for file in opened:
        os.close(file)
    # A signal by docker (`kill --signal HUP`) would keep the container from being started again after a crash.
    prefix_and_file = model["services"]["nginx"]["command"][:5]
    assert docker.calls[-1] == " ".join(["compose exec -T nginx", *prefix_and_file, "-s reload"])


@pytest.mark.parametrize(
    ("before", "option"),
    [
        ("no database", "-i wechat_merchant_bind --load-language zh_CN"),
        ("uninstalled ", "-i wechat_merchant_bind --load-language zh_CN"),
        ("installed 19.0.1.0.0", "-u wechat_merchant_bind"),
    ],
    ids=["new", "uninstalled", "older"],
)
def test_install_installs_or_updates(installation, docker, before, option):
    """The addon is installed into a database without it, and updated in one with it, while Odoo is stopped."""
    docker.answer(before, f"installed {manifest()['version']}")
    done = installation()
    assert done.returncode == 0, done.stderr
    build, _database, stop, _state, run, _state = docker.calls
    assert (build, stop) == ("compose build", "compose stop odoo")
    assert run == f"compose run --rm -T odoo odoo {option} --stop-after-init"


@pytest.mark.parametrize("after", ["", "uninstalled ", "to install ", "installed 19.0.1.0.0", "no database"])
def test_install_fails_without_the_addon(installation, docker, after):
    """The installation fails when Odoo, which ignores an addon that it can't read, has not installed this version."""
    docker.answer("no database", after)
    done = installation()
    assert done.returncode != 0
    assert after == "no database" or b"is not installed" in done.stderr
    assert b"Installed" not in done.stdout


def test_install_needs_settings(installation, folder, docker):
    """The installation refuses to begin without settings, which would be those of localhost."""
    (folder / ".env").rename(folder / "kept")
    try:
        done = installation()
    finally:
        (folder / "kept").rename(folder / ".env")
    assert done.returncode != 0 and b"setup/docker/prepare" in done.stderr
    assert not docker.calls


@pytest.fixture
def installation(folder, docker):
    """Return what runs setup/docker/install with the mock of docker."""
    (folder / ADDON.name).mkdir(exist_ok=True)
    shutil.copy2(ADDON / "__manifest__.py", folder / ADDON.name)

    def run() -> subprocess.CompletedProcess:
        command = [folder / "setup/docker/install"]
        return subprocess.run(command, env={"PATH": docker.path}, capture_output=True, check=False)

    return run


def test_mounted_files_of_a_private_clone_are_readable(tmp_path):
    """What the containers are given of a clone is readable for them, also after git and `prepare` under umask 077."""
    folder = tmp_path / "repository"
    prepare(folder, "odoo.example.com")
    places = [
        Path(volume["source"])
        for service in read_compose(folder, folder / ".env")["services"].values()
        for volume in service.get("volumes", [])
        if volume["type"] == "bind"
    ]
    assert len(places) == 3
    for place in places:
        place.chmod(0o700 if place.is_dir() else 0o600)
    subprocess.run(
        ["sh", "-c", 'umask 077; exec "$0"', folder / "setup/docker/prepare"], check=True, capture_output=True
    )
    for place in places:
        assert place.stat().st_mode & 0o777 == (0o755 if place.is_dir() else 0o644), place


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.name)
def test_images_of_a_private_clone_are_readable(dockerfile, tmp_path):
    """What an image gets of a clone is readable for its user, also with the modes that git gives it under umask 077."""
    text = dockerfile.read_text().replace("\\\n", " ")
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", text, re.MULTILINE):
        place = tmp_path / target.removeprefix("/")
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy = shutil.copytree if (REPOSITORY / source).is_dir() else shutil.copy2
        copy(REPOSITORY / source, place)
    for place in tmp_path.rglob("*"):
        place.chmod(0o700 if place.is_dir() else place.stat().st_mode & 0o700)
    for command in re.findall(r"\b((?:chmod|rm) [^&\n]+)", text):
        subprocess.run(command.replace(" /", f" {tmp_path}/").split(), check=True)
    # The folders below /usr are the image's own.
    copied = [*(tmp_path / "opt").rglob("*"), *(file for file in (tmp_path / "usr").rglob("*") if file.is_file())]
    assert any(place.suffix == ".py" for place in copied)
    for place in copied:
        wanted = 0o755 if place.stat().st_mode & 0o100 else 0o644
        assert place.stat().st_mode & 0o777 == wanted, place


def test_password_is_in_the_environment(model, tmp_path):
    """Odoo gets the password by its environment, since arguments of a process are public."""
    odoo = model["services"]["odoo"]
    dockerfile = (REPOSITORY / odoo["build"]["dockerfile"]).read_text()
    [entrypoint] = re.findall(r'^ENTRYPOINT \["(.+)"\]$', dockerfile, re.MULTILINE)
    [source] = re.findall(rf"^COPY (\S+) {entrypoint}$", dockerfile, re.MULTILINE)
    # ENTRYPOINT makes Docker forget the command of the image below.
    assert 'CMD ["odoo"]\n' in dockerfile
    secret = tmp_path / "db_password"
    secret.write_text("7c1f$HOME `id`\n")
    environment = {**odoo["environment"], "PASSWORD_FILE": str(secret), "PATH": os.environ["PATH"]}
    tell = (
        "import json, pathlib, sys; from odoo.tools.config import configmanager; config = configmanager(); "
        "config._parse_config(sys.argv[1:]); names = ('db_host', 'db_port', 'db_user', 'db_password'); "
        "print(json.dumps([[config[name] for name in names], pathlib.Path('/proc/self/cmdline').read_text()]))"
    )
    command = [REPOSITORY / source, sys.executable, "-c", tell, "--config", DOCKER / "odoo.conf"]
    answer = subprocess.run(command, check=True, capture_output=True, env=environment)
    settings, arguments = json.loads(answer.stdout)
    assert settings == ["db", 5432, "odoo", "7c1f$HOME `id`"]
    assert "odoo.conf" in arguments and "7c1f" not in arguments


def test_missing_password_stops_the_start(tmp_path):
    """Nothing is started without the password's file."""
    environment = {"PASSWORD_FILE": str(tmp_path / "missing"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [DOCKER / "odoo-entrypoint", "echo", "started"], env=environment, capture_output=True, check=False
    )
    assert done.returncode != 0 and not done.stdout


def test_restarted_nginx_can_write(model):
    """nginx can write to its folder also when it starts again, and open websockets do not delay its end."""
    for name, service in model["services"].items():
        for place in service.get("tmpfs", []):
            _path, _colon, options = place.partition(":")
            # When a container starts again, runc before 1.1.8 ignores the mode of a place that the image does not have.
            assert "mode=" not in options or {"uid=101", "gid=101"} <= set(options.split(",")), f"{name}: {place}"
    assert model["services"]["nginx"]["stop_signal"] == "SIGTERM"


def test_ipv6_is_added_by_a_file(folder, model):
    """Only IPv4 is published, where clients keep their addresses; a further file adds IPv6 with those as well."""

    def published(service: dict) -> set[tuple]:
        return {(port["host_ip"], port["published"], port["target"]) for port in service["ports"]}

    ipv4 = {("0.0.0.0", "80", 8080), ("0.0.0.0", "443", 8443)}
    assert published(model["services"]["nginx"]) == ipv4
    assert "enable_ipv6" not in model["networks"]["web"]
    both = read_compose(folder, folder / ".env", IPV6)
    assert published(both["services"]["nginx"]) == ipv4 | {("::", port, target) for _ip, port, target in ipv4}
    assert both["networks"]["web"]["enable_ipv6"] is True
    assert both["networks"]["data"] == model["networks"]["data"]
    template = TEMPLATE.read_text()
    for service, addresses in ((model["services"]["nginx"], 1), (both["services"]["nginx"], 2)):
        filled_in = template.replace("${IPV6_OFF}", service["environment"]["IPV6_OFF"])
        assert len(re.findall(r"^ *listen ", filled_in, re.MULTILINE)) == 3 * addresses
    assert f"COMPOSE_FILE={COMPOSE.name}:{IPV6.relative_to(REPOSITORY)}\n" in IPV6.read_text()


def test_mounted_files_exist(model):
    """What is mounted and built from is in the repository, and gets through .dockerignore."""
    for service in model["services"].values():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind" and not volume["source"].endswith("/acme"):
                relative = Path(volume["source"]).relative_to(get_folder(model))
                assert (REPOSITORY / relative).is_file()
        if "build" in service:
            dockerfile = REPOSITORY / service["build"]["dockerfile"]
            for source in re.findall(r"^COPY (\S+) ", dockerfile.read_text(), re.MULTILINE):
                assert (REPOSITORY / source).exists()
                assert is_sent(source), f"{source} is kept from the builder"
    for secret in ("setup/docker/secrets/tls_key.pem", ".env", ".run/demo.json"):
        assert not is_sent(secret)


def get_folder(model: dict) -> str:
    """Return the folder that the file was read in."""
    return model["services"]["odoo"]["build"]["context"]


def is_sent(path: str) -> bool:
    """Tell whether .dockerignore lets a file get to the builder: the last pattern that fits decides."""
    sent = True
    for pattern in (REPOSITORY / ".dockerignore").read_text().splitlines():
        if pattern and not pattern.startswith("#"):
            name = pattern.removeprefix("!")
            if any(fnmatch.fnmatch(part, name) for part in (path, *map(str, Path(path).parents))):
                sent = pattern.startswith("!")
    return sent


def test_images_hold_the_tested_versions(model):
    """The images hold what the addon and the sandbox import, in versions that the tests know."""
    odoo = (REPOSITORY / model["services"]["odoo"]["build"]["dockerfile"]).read_text()
    assert f"FROM odoo:{'.'.join(manifest()['version'].split('.')[:2])}\n" in odoo
    assert set(requirements(DOCKER / "odoo-requirements.txt")) == set(manifest()["external_dependencies"]["python"])
    tested = requirements(REPOSITORY / "setup" / "requirements-odoo.txt")
    sandbox = requirements(DOCKER / "sandbox-requirements.txt")
    assert sandbox.items() <= tested.items()
    files = list((REPOSITORY / "setup" / "sandbox").glob("*.py"))
    imported = {
        name for file in files for name in re.findall(r"^(?:import|from) (\w+)", file.read_text(), re.MULTILINE)
    }
    assert imported - sys.stdlib_module_names - {file.stem for file in files} <= set(sandbox)


def test_services_are_confined(model):
    """Every service is confined, comes back, and tells how it is; only nginx can be reached from outside."""
    for name, service in model["services"].items():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"] and "cap_add" not in service and "privileged" not in service
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][:2] == ["CMD", COMMANDS[name]]
        assert not [key for key in service.get("environment", {}) if re.search("PASSWORD$|SECRET$|TOKEN$", key)]
        assert get_user(service) not in ("root", "0")
        written = {volume["target"] for volume in service.get("volumes", []) if not volume.get("read_only")}
        written |= {place.split(":")[0] for place in service.get("tmpfs", [])}
        assert written >= WRITTEN[name]
    published = {name: service["ports"] for name, service in model["services"].items() if service.get("ports")}
    assert set(published) == {"nginx", "sandbox"}
    assert {port["host_ip"] for port in published["sandbox"]} == {"127.0.0.1"}
    assert model["services"]["sandbox"]["profiles"] == ["sandbox"]
    assert model["networks"]["data"]["internal"] is True
    assert list(model["services"]["db"]["networks"]) == ["data"]
    assert "data" not in model["services"]["nginx"]["networks"]


def get_user(service: dict) -> str:
    """Return the user of a service: from the file, else from its Dockerfile."""
    if "user" in service:
        return service["user"]
    dockerfile = REPOSITORY / service["build"]["dockerfile"]
    return re.findall(r"^USER (\w+)$", dockerfile.read_text(), re.MULTILINE)[-1]


def test_ports_and_names_lead_to_the_services(model, config):
    """Ports and names lead from the outside to nginx, to Odoo's two ports, to PostgreSQL."""
    nginx, odoo, database = (model["services"][name] for name in ("nginx", "odoo", "db"))
    settings = nginx["environment"]
    assert file_variables(TEMPLATE.read_text()) == set(settings) - {"NGINX_ENVSUBST_OUTPUT_DIR"}
    assert settings["ODOO_HTTP"] == f"odoo:{config['http_port']}"
    assert settings["ODOO_BUS"] == f"odoo:{config['gevent_port']}"
    assert {(port["published"], str(port["target"])) for port in nginx["ports"]} == {
        ("80", settings["HTTP_LISTEN"]),
        ("443", settings["HTTPS_LISTEN"]),
    }
    assert f"http://127.0.0.1:{settings['HTTP_LISTEN']}/nginx-health" == nginx["healthcheck"]["test"][-1]
    assert f"http://127.0.0.1:{config['http_port']}/web/health" in odoo["healthcheck"]["test"][-1]
    assert ":8070/" in model["services"]["sandbox"]["healthcheck"]["test"][-1]
    assert {port["target"] for port in model["services"]["sandbox"]["ports"]} == {8070}
    assert '"--port", "8070"' in (DOCKER / "sandbox.Dockerfile").read_text()
    assert odoo["environment"]["PGHOST"] in model["services"]
    assert odoo["environment"]["PGUSER"] == database["environment"]["POSTGRES_USER"]
    assert odoo["environment"]["PASSWORD_FILE"] == database["environment"]["POSTGRES_PASSWORD_FILE"]
    mounted = {
        name: {secret["target"] for secret in service.get("secrets", [])} for name, service in model["services"].items()
    }
    assert {settings["TLS_CERTIFICATE"], settings["TLS_KEY"]} == mounted["nginx"]
    assert {odoo["environment"]["PASSWORD_FILE"]} == mounted["odoo"] == mounted["db"]
    assert settings["ACME_ROOT"] in {volume["target"] for volume in nginx["volumes"]}
    assert settings["NGINX_ENVSUBST_OUTPUT_DIR"] in {place.split(":")[0] for place in nginx["tmpfs"]}


def test_odoo_settings_fit(model, config):
    """Odoo knows every option of odoo.conf, and they fit PostgreSQL's limits, nginx's and the addon's."""
    given = re.findall(r"^(\w+) *=", (DOCKER / "odoo.conf").read_text(), re.MULTILINE)
    assert set(given) <= set(config)
    assert "COPY wechat_merchant_bind /opt/odoo/addons/" in (DOCKER / "odoo.Dockerfile").read_text()
    assert "addons_path = /opt/odoo/addons\n" in (DOCKER / "odoo.conf").read_text()
    assert config["data_dir"] in WRITTEN["odoo"]
    assert (config["db_name"], config["dbfilter"], config["list_db"]) == (["odoo"], "", False)
    assert not config["admin_passwd"]
    assert config["proxy_mode"] is True
    processes = config["workers"] + config["max_cron_threads"] + 1
    limit = int(model["services"]["db"]["command"][-1].removeprefix("max_connections="))
    assert processes * config["db_maxconn"] < limit
    [patience] = re.findall(r"^    proxy_read_timeout (\d+)s;", TEMPLATE.read_text(), re.MULTILINE)
    assert int(patience) > config["limit_time_real"]
    webhook = (ADDON / "controllers" / "webhook.py").read_text()
    [body] = re.findall(r"^MAX_BODY_BYTES = (\d+) \* 1024$", webhook, re.MULTILINE)
    assert f"client_max_body_size {body}k;" in TEMPLATE.read_text()
    account = (ADDON / "models" / "account" / "wechat_account.py").read_text()
    [send_rate] = re.findall(r"send_rate = fields.Integer\([^)]*default=(\d+)", account)
    assert int(model["services"]["nginx"]["environment"]["WEBHOOK_RATE"]) >= 4 * int(send_rate)
