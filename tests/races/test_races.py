"""Binding, revoking, regenerating, unbinding, merging, archiving and disabling one merchant, each pair at a barrier.

Two Odoo processes on one database. In any order all tables agree, and each of the two users is told the result of the
action. WECHAT_TEST_SEED repeats the delays of a run.
"""

import html
import itertools
import os
import random
import re
from collections import Counter
from dataclasses import dataclass

import pytest
from support.database import Database
from support.odoo import OdooError
from support.pushes import WECHAT_WAITS, Answer
from support.races import OPERATIONS, Race, Races

PAIRS = list(itertools.combinations_with_replacement(OPERATIONS, 2))
ROUNDS = {False: 2, True: 30}
BOUND, PENDING = "绑定成功", "几分钟"
# Errors that Odoo shows as a message.
WORDS = ("UserError", "ValidationError", "AccessError", "MissingError")
TECHNICAL = re.compile(r"serializ|concurren|could not|psycopg|duplicate|violates|Traceback|Detail:", re.IGNORECASE)
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@dataclass
class Ledger:
    """All rows about the merchants of all races."""

    partners: dict[int, dict]
    bindings: list[dict]
    codes: list[dict]
    operations: list[dict]
    notes: list[dict]
    events: list[dict]

    @classmethod
    def read(cls, database: Database, races: list[Race]) -> "Ledger":
        """Read what is stored after the races."""
        ids = [partner for race in races for partner in (race.merchant, race.other)]
        openids = [openid for race in races for openid in race.openids]
        partners = database.execute(
            "SELECT id, active, is_wechat_bound, wechat_openid, wechat_state, wechat_bound_at"
            "  FROM res_partner WHERE id = ANY(%s)",
            ids,
        )
        return cls(
            {row["id"]: row for row in partners},
            database.execute("SELECT * FROM wechat_binding WHERE openid = ANY(%s)", openids),
            database.execute("SELECT * FROM wechat_bind_code WHERE partner_id = ANY(%s)", ids),
            database.execute("SELECT * FROM wechat_operation WHERE partner_id = ANY(%s)", ids),
            database.execute(
                "SELECT res_id AS partner_id, body FROM mail_message WHERE model = 'res.partner' AND res_id = ANY(%s)",
                ids,
            ),
            database.execute("SELECT openid, state, error FROM wechat_event WHERE openid = ANY(%s)", openids),
        )

    def of(self, race: Race) -> "Ledger":
        """Return what is about the merchants of one race."""
        ids, openids = {race.merchant, race.other}, set(race.openids)

        def select(rows: list[dict]) -> list[dict]:
            return [row for row in rows if row["partner_id"] in ids]

        return Ledger(
            {partner: row for partner, row in self.partners.items() if partner in ids},
            [row for row in self.bindings if row["openid"] in openids],
            select(self.codes),
            select(self.operations),
            select(self.notes),
            [row for row in self.events if row["openid"] in openids],
        )

    def live(self) -> list[dict]:
        return [binding for binding in self.bindings if binding["state"] == "bound"]

    def count(self, operation: str) -> int:
        return sum(row["operation"] == operation for row in self.operations)


@pytest.fixture(scope="module")
def seed() -> int:
    """Another one in each run; WECHAT_TEST_SEED repeats a run."""
    return int(os.environ.get("WECHAT_TEST_SEED", random.SystemRandom().randrange(2**32)))


@pytest.fixture(scope="module")
def marks(system) -> list[int]:
    """Where the servers' logs end before the races."""
    return [server.log.stat().st_size for server in system.servers]


@pytest.fixture(scope="module")
def races(system, marks, seed) -> list[Race]:
    """All races, run."""
    rounds = ROUNDS[os.environ.get("WECHAT_TEST_ALL") == "1"]
    return Races(system, PAIRS, rounds, seed).run()


@pytest.fixture(scope="module")
def ledger(system, races) -> Ledger:
    return Ledger.read(system.database, races)


@pytest.mark.parametrize("pair", PAIRS, ids=" + ".join)
def test_tables_and_answers_agree_after_a_race(races, ledger, seed, pair):
    """Bindings, codes, partner fields, log, chatter and the two answers agree."""
    found = [
        f"round {race.number}: {complaint}"
        for race in races
        if race.pair == pair
        for complaint in find_contradictions(race, ledger.of(race))
    ]
    assert not found, f"seed {seed}: {found}"


def test_conflicts_leave_no_traceback(system, races, marks):
    """Conflicts are retried and leave no traceback in the log."""
    logs = "".join(server.read_log(mark) for server, mark in zip(system.servers, marks, strict=True))
    assert "Traceback" not in logs


def find_contradictions(race: Race, ledger: Ledger) -> list[str]:
    """Return the contradictions as texts."""
    return [
        *_check_bindings(ledger),
        *_check_codes(ledger),
        *_check_partners(ledger),
        *_check_story(race, ledger),
        *_check_answers(race, ledger),
    ]


def _check_bindings(ledger: Ledger) -> list[str]:
    found = []
    for name in ("partner_id", "openid"):
        found += [
            f"{number} live bindings of {name} {value}"
            for value, number in Counter(binding[name] for binding in ledger.live()).items()
            if number > 1
        ]
    found += [f"binding {row['id']} of nobody" for row in ledger.live() if row["partner_id"] not in ledger.partners]
    return found


def _check_codes(ledger: Ledger) -> list[str]:
    found = []
    used = Counter(code["id"] for code in ledger.codes if code["state"] == "used")
    if used != Counter(binding["code_id"] for binding in ledger.bindings):
        found.append(f"used codes {list(used)} have not one binding each")
    active = [code["partner_id"] for code in ledger.codes if code["state"] == "active"]
    found += [f"merchant {partner} has {number} codes" for partner, number in Counter(active).items() if number > 1]
    bound = {binding["partner_id"] for binding in ledger.live()}
    found += [f"bound merchant {partner} has an open code" for partner in active if partner in bound]
    disabled = {partner for partner, row in ledger.partners.items() if not row["active"]}
    found += [f"disabled merchant {partner} has an open code" for partner in active if partner in disabled]
    return found


def _check_partners(ledger: Ledger) -> list[str]:
    live = {binding["partner_id"]: binding for binding in ledger.live()}
    found = []
    for partner, row in ledger.partners.items():
        binding = live.get(partner)
        expected = {
            "is_wechat_bound": bool(binding),
            "wechat_openid": binding and binding["openid"],
            "wechat_state": "bound" if binding else "unbound",
            "wechat_bound_at": binding and binding["bound_at"],
        }
        if any((row[name] or None) != (value or None) for name, value in expected.items()):
            found.append(f"merchant {dict(row)}, its binding says {expected}")
    return found


def _check_story(race: Race, ledger: Ledger) -> list[str]:
    """The log has one line for each change, and the chatter each line once."""
    expected = {
        "bind": len(ledger.bindings),
        "unbind": sum(binding["state"] == "unbound" for binding in ledger.bindings),
        "generate": len(ledger.codes),
        "revoke": sum(code["state"] == "revoked" for code in ledger.codes),
        # Odoo's merge enables the merchant that stays if one of them is enabled.
        "disable": sum(not row["active"] for row in ledger.partners.values()) + ledger.count("enable"),
        "merge": 2 - len(ledger.partners),
    }
    counted = {operation: ledger.count(operation) for operation in expected}
    if race.merchant not in ledger.partners:
        # Disabled and then merged: the log knows.
        del expected["disable"]
    found = [
        f"{counted[name]} times {name} in the log, {number} happened"
        for name, number in expected.items()
        if counted[name] != number
    ]
    log = Counter(_strip(row["note"]) for row in ledger.operations)
    chatter = Counter(_strip(html.unescape(re.sub("<[^>]+>", "", row["body"] or ""))) for row in ledger.notes)
    found += [f"in the log, and not as often in the chatter: {note}" for note in log - chatter]
    found += [f"scan not handled: {event['error']}" for event in ledger.events if event["state"] != "done"]
    return found


def _check_answers(race: Race, ledger: Ledger) -> list[str]:
    found = []
    for operation, result in zip(race.pair, race.results, strict=True):
        if isinstance(result, Answer):
            if result.status != 200 or not result.text or result.seconds > WECHAT_WAITS:
                found.append(f"a scan was answered {result.status} {result.text} after {result.seconds:.1f} s")
        elif isinstance(result, OdooError):
            # Odoo says in English that a merchant is gone.
            is_read = CHINESE.search(result.message) or result.name.endswith("MissingError")
            if not (is_read and result.name.endswith(WORDS)) or TECHNICAL.search(result.message):
                found.append(f"{operation}: {result}")
    told = [result.text or "" for result in race.outcome("bind")]
    by_scan = len(ledger.bindings) - race.is_bound
    told_bound, told_to_wait = (sum(words in text for text in told) for words in (BOUND, PENDING))
    if not told_bound <= by_scan <= told_bound + told_to_wait:
        found.append(f"{by_scan} were bound by a scan, told was {told}")
    return found + _check_successes(race, ledger)


def _check_successes(race: Race, ledger: Ledger) -> list[str]:
    """Check that every action with a success answer has had its effect."""
    found = []
    merchant = ledger.partners.get(race.merchant)
    done = {
        operation: [result for result in race.outcome(operation) if not isinstance(result, OdooError)]
        for operation in race.pair
    }
    if done.get("unbind") and min(ledger.bindings, key=lambda binding: binding["id"])["state"] == "bound":
        found.append("told that it is unbound, and is bound")
    is_disabled = not merchant or not merchant["active"] or ledger.count("enable")
    if (done.get("archive") or done.get("disable")) and not is_disabled:
        found.append("told that it is disabled, and is not")
    if done.get("merge") and len(ledger.partners) != 1:
        found.append("told that they are merged, and are not")
    if done.get("regenerate") and not ledger.count("generate") > 1:
        found.append("told that there is a new code, and there is none")
    return found


def _strip(text: str) -> str:
    return re.sub(r"\s+", "", text or "")
