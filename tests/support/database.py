"""Databases of the tests: creation, SQL beside Odoo, removal."""

import configparser
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extras import RealDictCursor

# Tables with temporary rows in all versions: dialogs and the attempts of an hour.
TRANSIENT = (
    *("wechat_account_check%", "wechat_bind_code_show", "wechat_composer", "wechat_openid_show"),
    *("wechat_portal_attempt", "wechat_template_add", "wechat_template_preview", "wechat_template_test"),
    "wechat_unbind",
)
# Columns that the addon adds to tables of Odoo. Older versions lack some.
ADDED = {
    "res_partner": (
        ("res_partner", "wechat_state"),
        "SELECT id, wechat_openid, is_wechat_bound, wechat_state FROM res_partner WHERE wechat_state IS NOT NULL",
    ),
    "mail_notification": (
        ("wechat_message", "notification_id"),
        "SELECT id, res_partner_id, mail_message_id, notification_status, failure_type"
        "  FROM mail_notification WHERE notification_type = 'wechat'",
    ),
    "ir_act_server": (
        ("ir_act_server", "wechat_template_id"),
        "SELECT id, state, wechat_template_id FROM ir_act_server WHERE state = 'wechat'",
    ),
}


def odoo_command(*arguments: str) -> list[str]:
    """Return the command line that starts Odoo inside the project's environment."""
    return [sys.executable, os.environ["ODOO_BIN"], *arguments]


class Database:
    """A database by its name, with the files that Odoo keeps beside it."""

    def __init__(self, name: str):
        config = configparser.ConfigParser(interpolation=None)
        config.read(os.environ["ODOO_RC"])
        self.filestore = Path(config["options"]["data_dir"]) / "filestore"
        self.name = name

    @classmethod
    def copied(cls, name: str, template: str) -> "Database":
        """Copy a database with its files."""
        database = cls(name)
        subprocess.run(["createdb", "-T", template, name], check=True)
        if (database.filestore / template).is_dir():
            shutil.copytree(database.filestore / template, database.filestore / name)
        return database

    @classmethod
    def restored(cls, name: str, dump: Path) -> "Database":
        """Restore a dump that `dump` wrote."""
        subprocess.run(["createdb", "-T", "template0", name], check=True)
        with lzma.open(dump) as content:
            script = content.read()
        command = ["psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--output=/dev/null", f"--dbname={name}"]
        subprocess.run(command, input=script, check=True)
        return cls(name)

    def dump(self, file: Path) -> None:
        """Write the database as compressed SQL, a third of the size of pg_dump's own format."""
        command = ["pg_dump", "--no-owner", "--no-privileges", self.name]
        script = subprocess.run(command, check=True, capture_output=True).stdout
        # Commands of this pg_dump's minor version that another psql does not know.
        script = re.sub(rb"^\\(?:un)?restrict .*\n", b"", script, flags=re.MULTILINE)
        file.write_bytes(lzma.compress(script, preset=9))

    def drop(self) -> None:
        """Remove the database and its files."""
        subprocess.run(["dropdb", "--force", "--if-exists", self.name], check=True)
        shutil.rmtree(self.filestore / self.name, ignore_errors=True)

    def run_odoo(self, log: Path, *arguments: str) -> None:
        """Run Odoo once on this database, to install or to update.

        :raise AssertionError: it failed, or logged an error, which its exit status may not tell
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        command = odoo_command("-d", self.name, "--no-http", "--stop-after-init", *arguments)
        with log.open("wb") as output:
            status = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        errors = re.findall(r"^.* (?:ERROR|CRITICAL) .*$", log.read_text(encoding="utf-8"), re.MULTILINE)
        assert not status and not errors, f"status {status}, {errors[:3]} (log: {log})"

    def run_in_shell(self, code: str) -> None:
        """Run Python in Odoo's shell. The code has to commit."""
        command = odoo_command("shell", "-d", self.name, "--no-http", "--log-level", "warn")
        subprocess.run(command, input=code, text=True, check=True, stdout=subprocess.DEVNULL)

    def execute(self, query: str | sql.Composable, *values: object, **named: object) -> list[dict]:
        """Run SQL beside Odoo, commit it, and return the last statement's rows, if it has any."""
        connection = psycopg2.connect(dbname=self.name)
        try:
            with connection, connection.cursor(cursor_factory=RealDictCursor) as cr:
                cr.execute(query, named or values)
                return [dict(row) for row in cr.fetchall()] if cr.description else []
        finally:
            connection.close()

    def vacuum(self) -> None:
        """Vacuum and analyze, as autovacuum does some time after a large change."""
        connection = psycopg2.connect(dbname=self.name)
        try:
            connection.autocommit = True
            with connection.cursor() as cr:
                cr.execute("VACUUM ANALYZE")
        finally:
            connection.close()

    def read_addon_tables(self) -> dict[str, list[dict]]:
        """Return all rows of the addon's own tables, and what it adds to those of Odoo, by table."""
        names = [
            row["tablename"]
            for row in self.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'wechat%%'"
                + " AND tablename NOT LIKE %s" * len(TRANSIENT),
                *TRANSIENT,
            )
        ]
        tables = {
            name: self.execute(sql.SQL("SELECT * FROM {} ORDER BY id").format(sql.Identifier(name))) for name in names
        }
        for name, (column, query) in ADDED.items():
            known = "SELECT FROM information_schema.columns WHERE table_name = %s AND column_name = %s"
            if self.execute(known, *column):
                tables[name] = self.execute(f"{query} ORDER BY id")
        return tables
