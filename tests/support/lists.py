"""The cost of the web client's calls among many partners, measured inside Odoo."""

import json
import subprocess
import sys

from support.database import Database
from support.system import LOGS, REPOSITORY

SCRIPT = REPOSITORY / "tests" / "scale" / "measure.py"
# Percentages of unbound partners, in the order in which a database gets them.
UNBOUND = (99, 50, 1)
UNBOUND_PAGES = ("contacts wechat_unbound", "merchants wechat_unbound")
# The first page of Odoo's own contact list.
STOCK = "stock"


def measure_lists(database: Database, rounds: int, *names: str) -> dict[str, dict]:
    """Return the results of measure.py.

    :param names: of the calls; by default all
    """
    command = [sys.executable, SCRIPT, database.name, str(rounds), *names]
    with (LOGS / "scale-measure.log").open("wb") as log:
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=log).stdout)
