"""Two users act on one merchant at the same moment, each through an Odoo process of its own."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from support import pushes
from support.odoo import OdooError, WebClient, at_once
from support.pushes import Answer
from support.system import System

OPERATIONS = ("bind", "revoke", "regenerate", "unbind", "merge", "archive", "disable")
QR_PATH = "/cgi-bin/qrcode/create"
# Long enough for the other action to interleave.
QR_LATENCY_MS = 40
# The greatest delay of the second action, so that the two meet at different steps.
JITTER_SECONDS = 0.06
SIDE_BY_SIDE = 6
REASON = "race"
GENERATE = "for partner in records: partner._wechat_get_bind_code()"
REVOKE = f"records.sudo().wechat_bind_code_ids._revoke('{REASON}')"


@dataclass
class Race:
    """One merchant, another one to merge it with, and the actions of two users.

    In a race that unbinds, the merchant is bound to the first of two phones, and the other merchant has a code that
    this phone may scan; in all others the merchant has a code and the other one has one in every second round only.
    """

    pair: tuple[str, str]
    number: int
    merchant: int
    other: int
    openids: list[str] = field(default_factory=lambda: [pushes.new_openid(), pushes.new_openid()])
    show: int = 0
    wizards: list[int] = field(default_factory=list)
    results: list[Answer | OdooError | object] = field(default_factory=list)

    @property
    def is_bound(self) -> bool:
        """Whether the merchant is bound before."""
        return "unbind" in self.pair

    @property
    def is_merged_away(self) -> bool:
        """Whether it is the merchant that a merge lets vanish, and not the other one."""
        return self.number % 2 == 0

    @property
    def is_revoked(self) -> bool:
        """Whether the merchant has no open code any more, so that regenerating has none to take the place of."""
        return "regenerate" in self.pair and self.number % 2 == 1 and not {"bind", "revoke", "unbind"} & {*self.pair}

    def outcome(self, operation: str) -> list[Answer | OdooError | object]:
        """Return the outcomes of an action."""
        return [result for name, result in zip(self.pair, self.results, strict=True) if name == operation]


class Races:
    """Races of all the pairs, prepared together and then run some at a time."""

    def __init__(self, system: System, pairs: list[tuple[str, str]], rounds: int, seed: int):
        self.system = system
        self.random = random.Random(seed)
        self.clients = [system.admin.at(server.url) for server in system.servers]
        self.channels = [system.channel.at(server.url) for server in system.servers]
        self.races = self._make(pairs, rounds)
        self._prepare()

    def run(self) -> list[Race]:
        """Run them."""
        self.system.sandbox.post("faults", path=QR_PATH, latency_ms=QR_LATENCY_MS, times=0)
        self.random.shuffle(self.races)
        try:
            with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
                list(pool.map(self._run, self.races))
        finally:
            self.system.sandbox.post("faults/release", path=QR_PATH)
        self._catch_up()
        return self.races

    def _make(self, pairs: list[tuple[str, str]], rounds: int) -> list[Race]:
        names = [
            f"{' + '.join(pair)} {number}{role}" for pair in pairs for number in range(rounds) for role in ("甲", "乙")
        ]
        vals = [{"name": name, "is_company": True, "lang": "zh_CN"} for name in names]
        ids = iter(self.system.admin.call("res.partner", "create", vals))
        return [Race(pair, number, next(ids), next(ids)) for pair in pairs for number in range(rounds)]

    def _prepare(self) -> None:
        system = self.system
        self.revoke_action = self._make_action(REVOKE)
        coded = [race.merchant for race in self.races]
        coded += [race.other for race in self.races if race.is_bound or not race.is_merged_away]
        self._run_action(system.admin, self._make_action(GENERATE), coded)
        rows = system.database.execute(
            "SELECT id, partner_id, scene_str FROM wechat_bind_code WHERE partner_id = ANY(%s)", coded
        )
        self.codes = {row["partner_id"]: row for row in rows}
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(self._bind_before, [race for race in self.races if race.is_bound]))
        if revoked := [race.merchant for race in self.races if race.is_revoked]:
            self._run_action(system.admin, self.revoke_action, revoked)
        vals = [{"partner_id": race.merchant, "code_id": self.codes[race.merchant]["id"]} for race in self.races]
        for race, show in zip(self.races, system.admin.call("wechat.bind.code.show", "create", vals), strict=True):
            race.show = show
        merging = [race for race in self.races for name in race.pair if name == "merge"]
        vals = [
            {
                "state": "selection",
                "partner_ids": [(6, 0, [race.merchant, race.other])],
                "dst_partner_id": race.other if race.is_merged_away else race.merchant,
            }
            for race in merging
        ]
        wizards = system.admin.call("base.partner.merge.automatic.wizard", "create", vals)
        for race, wizard in zip(merging, wizards, strict=True):
            race.wizards.append(wizard)

    def _make_action(self, code: str) -> int:
        """Return a server action on partners, as another addon or an automation would have one."""
        [model] = self.system.admin.find("ir.model", [("model", "=", "res.partner")], ["id"])
        return self.system.admin.create(
            "ir.actions.server", {"name": "Race", "model_id": model["id"], "state": "code", "code": code}
        )

    def _run_action(self, client: WebClient, action: int, partners: list[int]) -> object:
        context = {"active_model": "res.partner", "active_ids": partners, "active_id": partners[0], "lang": "zh_CN"}
        return client.call("ir.actions.server", "run", [action], context=context)

    def _bind_before(self, race: Race) -> None:
        answer = self._scan(race.openids[0], race.merchant).send(self.system.channel)
        assert "绑定成功" in answer.text

    def _scan(self, openid: str, partner: int) -> pushes.Push:
        return pushes.scan(self.system.channel, openid, self.codes[partner]["scene_str"])

    def _run(self, race: Race) -> None:
        jobs = [self._get_job(race, operation, place) for place, operation in enumerate(race.pair)]
        later, seconds = self.random.randrange(2), self.random.uniform(0, JITTER_SECONDS)

        def run(place: int) -> Answer | OdooError | object:
            if place == later:
                time.sleep(seconds)
            try:
                return jobs[place]()
            except OdooError as error:
                return error

        race.results = at_once([lambda place=place: run(place) for place in range(2)])

    def _get_job(self, race: Race, operation: str, place: int) -> Callable[[], Answer | object]:
        """Return one of the two actions, prepared up to its request."""
        client, channel = self.clients[place], self.channels[place]
        if operation == "bind":
            # A bound phone tries to bind to the other merchant.
            openid = race.openids[0] if race.is_bound else race.openids[place]
            push = self._scan(openid, race.other if race.is_bound else race.merchant)
            return lambda: push.send(channel)
        if operation == "revoke":
            return lambda: self._run_action(client, self.revoke_action, [race.merchant])
        if operation == "regenerate":
            return lambda: client.call("wechat.bind.code.show", "action_regenerate", [race.show])
        if operation == "merge":
            wizard = race.wizards.pop()
            return lambda: client.call("base.partner.merge.automatic.wizard", "action_merge", [wizard])
        method, arguments = {
            "unbind": ("action_wechat_unbind", [REASON]),
            "archive": ("action_archive", []),
            "disable": ("action_wechat_disable", []),
        }[operation]
        return lambda: client.call("res.partner", method, [race.merchant], *arguments)

    def _catch_up(self) -> None:
        """Handle the scans that exceeded their lock timeout, as the cron does some minutes later."""
        openids = [openid for race in self.races for openid in race.openids]
        waiting = self.system.events(("openid", "in", openids), ("state", "in", ("received", "failed")))
        if waiting:
            self.system.admin.call("wechat.event", "action_retry", [event["id"] for event in waiting])
