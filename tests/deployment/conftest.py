"""Fixtures of the deployment's tests."""

import json
import subprocess
import sys

import pytest
from support.deployment import DOCKER
from support.system import REPOSITORY

# In a process of its own, since importing Odoo changes the process.
READ_CONFIG = """
import json, sys
from odoo.tools.config import configmanager
config = configmanager()
config._parse_config(["--config", sys.argv[1], "--addons-path", sys.argv[2]])
print(json.dumps({name: config[name] for name, option in config.options_index.items() if option.file_loadable}))
"""


@pytest.fixture(scope="session")
def config():
    """All options of Odoo's configuration file, as Odoo reads them."""
    command = [sys.executable, "-c", READ_CONFIG, str(DOCKER / "odoo.conf"), str(REPOSITORY)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, env={}).stdout)
