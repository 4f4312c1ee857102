"""Files for hosting sites and developers' tools: requirements, hooks, the workflow, templates."""

import configparser
import os
import re
import subprocess

import pytest
import tomllib
import yaml
from support.system import REPOSITORY

GITHUB = REPOSITORY / ".github"
ISSUE_TEMPLATES = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.md"))


def test_requirements_are_those_of_the_manifest():
    """Hosts that install the root's requirements.txt install what the manifest asks for, in Odoo's versions."""
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    manifest = eval((REPOSITORY / "wechat_merchant_bind" / "__manifest__.py").read_text())
    assert packages == sorted(manifest["external_dependencies"]["python"])


def test_hooks_are_the_linters():
    """The hooks before a commit are the linters of ./setup/test, run by the same script."""
    linters = subprocess.run([REPOSITORY / "setup" / "lint", "--list"], check=True, capture_output=True, text=True)
    [local] = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert [hook["id"] for hook in local["hooks"]] == linters.stdout.split()
    for hook in local["hooks"]:
        assert hook["entry"] == f"./setup/lint {hook['id']}"
        assert hook["language"] == "system" and hook["pass_filenames"] is False
    assert {"ruff", "bandit", "pylint-odoo", "shellcheck"} <= set(linters.stdout.split())
    assert 'for linter in "${LINTERS[@]}"' in (REPOSITORY / "setup" / "test").read_text()


def test_unknown_linter_is_refused():
    """A mistyped name is refused, since a hook that runs nothing would pass."""
    command = [REPOSITORY / "setup" / "lint", "rufff"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "rufff" in done.stderr


def test_workflow_runs_the_checks():
    """The hosting site's continuous integration runs .ci/run, for each push and pull request, and may only read."""
    workflow = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())
    # YAML 1.1 reads the key "on" as true.
    assert {"push", "pull_request"} <= set(workflow[True])
    assert workflow["permissions"] == {"contents": "read"}
    [job] = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == ".ci/run"
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("template", ISSUE_TEMPLATES, ids=lambda file: file.stem)
def test_issue_templates_have_a_description(template):
    """A template is offered by its name and description."""
    _before, head, body = template.read_text().split("---\n", 2)
    assert {"name", "about"} <= set(yaml.safe_load(head))
    assert body.strip()


def test_vulnerabilities_are_reported_privately():
    """Vulnerabilities are reported privately by the hosting site's form, not by an e-mail address."""
    assert {template.stem for template in ISSUE_TEMPLATES} == {"bug_report", "feature_request"}
    assert (GITHUB / "pull_request_template.md").is_file()
    policy = (REPOSITORY / "SECURITY.md").read_text()
    assert "Report a vulnerability" in policy
    assert not re.search(r"[\w.]+@[\w.]+", policy)


def test_editors_know_the_length_of_lines():
    """Editors are told the linters' length of lines."""
    parser = configparser.ConfigParser()
    parser.read_string("[top]\n" + (REPOSITORY / ".editorconfig").read_text())
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert parser["*.py"]["max_line_length"] == str(settings["tool"]["ruff"]["line-length"])
