"""Keeps the platform's state in a file, so that a restarted demo still knows its followers, chats and codes."""

import asyncio
import json
import logging
import os
from collections import OrderedDict, deque
from dataclasses import asdict, fields
from pathlib import Path

from state import CHAT_LENGTH, Account, Code, Follower, Settings, State, TokenSlot

_logger = logging.getLogger(__name__)

FORMAT = 1
# Changes come in bursts; one write serves all of a second.
DEBOUNCE_SECONDS = 1.0


def dump(state: State) -> dict:
    """Everything that must outlive the process, ready for JSON."""
    return {
        "format": FORMAT,
        "last_msgid": state.last_msgid,
        "accounts": [
            {
                **account.settings(),
                "templates": account.templates,
                "followers": [
                    {**vars(follower), "messages": list(follower.messages)} for follower in account.followers.values()
                ],
                "recent": list(account.recent),
                "slots": {kind: asdict(slot) for kind, slot in account.slots.items()},
            }
            for account in state.accounts.values()
        ],
        "codes": [asdict(code) for code in state.codes.values()],
        "tokens": dict(state.tokens),
    }


def restore(state: State, data: dict):
    """Fill a new state from what `dump` made."""
    state.accounts.clear()
    for item in data["accounts"]:
        account = Account(
            **{setting.name: item[setting.name] for setting in fields(Settings)}, templates=item["templates"]
        )
        for values in item["followers"]:
            account.add_follower(Follower(**{**values, "messages": deque(values["messages"], maxlen=CHAT_LENGTH)}))
        account.recent = OrderedDict.fromkeys(item["recent"])
        account.slots = {kind: TokenSlot(**slot) for kind, slot in item["slots"].items()}
        state.accounts[account.app_id] = account
    for item in data["codes"]:
        state.add_code(Code(**item))
    state.tokens.update(data["tokens"])
    state.last_msgid = data["last_msgid"]
    state.ensure_default()


class Storage:
    """Loads the state at start and writes it after changes, debounced and atomically (temporary file, rename)."""

    def __init__(self, state: State, path: Path):
        self.state = state
        self.path = path
        self.dirty = asyncio.Event()
        self.task = None

    def load(self):
        """:raises ValueError, KeyError: when the file is not one of ours"""
        if self.path.exists():
            restore(self.state, json.loads(self.path.read_text(encoding="utf-8")))

    def start(self):
        """Write the state now and after every change; call it in the running event loop."""
        self.state.listeners.append(self.dirty.set)
        self.dirty.set()
        self.task = asyncio.create_task(self._write_changes())

    async def stop(self):
        """End the writing and save the state a last time."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self._write(json.dumps(dump(self.state), ensure_ascii=False))

    async def _write_changes(self):
        while True:
            await self.dirty.wait()
            await asyncio.sleep(DEBOUNCE_SECONDS)
            self.dirty.clear()
            text = json.dumps(dump(self.state), ensure_ascii=False)
            try:
                await asyncio.to_thread(self._write, text)
            except OSError as error:
                _logger.error("cannot write %s: %s", self.path, error)

    def _write(self, text: str):
        temporary = self.path.with_name(self.path.name + ".new")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.path)
