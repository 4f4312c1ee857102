"""The wheel: it builds from the repository, and Odoo finds the addon that pip has installed from it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.system import REPOSITORY

ADDON = "wechat_merchant_bind"
GIT = ["git", "-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
# Odoo as it runs beside the wheel: where it finds the addon, and whether that is whole.
FIND = f"""
import glob, importlib, json, os
from odoo.modules import module
module.initialize_sys_path()
manifest = module.Manifest.for_addon("{ADDON}")
for part in ("controllers", "models", "report", "tools", "wizard"):
    importlib.import_module("odoo.addons.{ADDON}." + part)
patterns = [pattern for bundle in manifest["assets"].values() for pattern in bundle]
print(json.dumps({{
    "path": manifest.path,
    "listed": "{ADDON}" in module.get_modules(),
    "version": manifest["version"],
    "missing": [name for name in manifest["data"] if not os.path.isfile(os.path.join(manifest.path, name))]
        + [name for name in patterns if not glob.glob(os.path.join(manifest.addons_path, name), recursive=True)],
}}))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A clone with the addon of the working tree and an untracked file."""
    folder = tmp_path_factory.mktemp("wheel") / "repository"
    command = ["git", "ls-files", "-z", "--", ADDON]
    names = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        # What was removed and not committed yet is still listed.
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=The addon"]):
        subprocess.run([*GIT, *arguments], cwd=folder, check=True)
    (folder / ADDON / "local_secrets.txt").write_text("not for others")
    return folder / ADDON


@pytest.fixture(scope="module")
def wheel(source):
    """The wheel that the README's command builds, with the build backend that is already installed."""
    folder = source.parent / "dist"
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)], check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def test_wheel_holds_the_tracked_files(source, wheel):
    """The wheel has every file of the addon under Odoo's namespace, none that is not in git, and says what it needs."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=source, check=True, capture_output=True, text=True).stdout
    packed = {name.removeprefix(f"odoo/addons/{ADDON}/") for name in names if name.startswith("odoo/")}
    assert packed == set(filter(None, tracked.split("\0"))) - {"pyproject.toml"}
    assert "Name: odoo-addon-wechat_merchant_bind\n" in text
    manifest = eval((source / "__manifest__.py").read_text())
    for requirement in ("odoo==19.0.*", *manifest["external_dependencies"]["python"]):
        assert f"Requires-Dist: {requirement}\n" in text


def test_odoo_finds_the_installed_addon(source, wheel, tmp_path):
    """Installed beside Odoo, with no entry on the addons path, the addon is Odoo's, with its data and static files."""
    site = tmp_path / "site"
    subprocess.run([*PIP, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)], check=True)
    (tmp_path / "odoo.conf").write_text(f"[options]\ndata_dir = {tmp_path}\n")
    environment = {**os.environ, "ODOO_RC": str(tmp_path / "odoo.conf"), "PYTHONPATH": str(site)}
    environment.pop("ODOO_ADDONS_PATH")
    answer = subprocess.run(
        [sys.executable, "-c", FIND], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    found = json.loads(answer.stdout.splitlines()[-1])
    assert Path(found["path"]) == site / "odoo" / "addons" / ADDON
    assert found["listed"]
    assert found["version"] == eval((source / "__manifest__.py").read_text())["version"]
    assert found["missing"] == []
