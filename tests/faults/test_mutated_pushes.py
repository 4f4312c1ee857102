"""Randomly mutated pushes, half of them inside a validly signed envelope: none causes an error or a binding.

Every mutation damages the authenticated part of the envelope or the scene within, so a binding would be a forgery. 400
pushes, with ./setup/test --all 10,000. The seed is printed when a push fails.
"""

import os
import random
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import pushes

PUSHES = {False: 400, True: 10_000}
THREADS = 8
JUNK = [
    b"",
    b"\x00",
    b"\xff\xfe",
    b"]]>",
    b"<",
    b"&amp;&lol;",
    b"</xml>",
    b"<xml>",
    b"<![CDATA[",
    b"<Event>SCAN</Event>",
    b"<Encrypt/>",
    b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>",
    b"<?xml version='1.0' encoding='utf-7'?>",
    "茶🍵\u202e".encode(),
    b"A" * 5000,
    b"<a>" * 300,
    b"-1",
    b"99999999999999999999",
    b"%00%s{0}",
    b"' OR 1=1 --",
]
AUTHENTICATED = ("msg_signature", "timestamp", "nonce")


def spoil_text(rng: random.Random, text: str) -> str:
    """Change at least one character."""
    place = rng.randrange(len(text))
    return text[:place] + rng.choice([c for c in "abcXYZ019_-茶 " if c != text[place]]) + text[place + 1 :]


def spoil_bytes(rng: random.Random, body: bytes) -> bytes:
    """Cut, double, flip or overwrite bytes, once or several times."""
    for _time in range(rng.choice([1, 1, 2, 5])):
        start = rng.randrange(len(body) + 1)
        end = min(len(body), start + rng.choice([0, 1, 4, 20, 200]))
        middle = rng.choice(
            [
                rng.choice(JUNK),
                body[start:end] * 2,
                rng.randbytes(end - start),
                bytes(byte ^ 1 for byte in body[start:end]),
            ]
        )
        body = body[:start] + middle + body[end:]
    return body


def mutate_inside(rng: random.Random, channel: pushes.Channel, scene: str) -> pushes.Push:
    """Damage the message, then sign and encrypt it validly."""
    event = rng.choice(["SCAN", "subscribe", "unsubscribe", "CLICK", "TEMPLATESENDJOBFINISH", spoil_text(rng, "SCAN")])
    key = spoil_text(rng, scene)
    xml = pushes.event_xml(channel, pushes.new_openid(), event, rng.choice(["", "qrscene_"]) + key)
    if rng.random() < 0.8:
        body = spoil_bytes(rng, xml.encode())
        # A later mutation may repair the damage. Such a push would be valid.
        xml = body.decode("utf-8", "replace").replace(scene, key)
    return pushes.seal(channel, xml)


def mutate_outside(rng: random.Random, channel: pushes.Channel, scene: str) -> pushes.Push:
    """Damage the authenticated part of a valid push, and other parts."""
    push = pushes.scan(channel, pushes.new_openid(), scene)
    for name in rng.sample(sorted(push.query), rng.choice([0, 1, 3])):
        if rng.random() < 0.3:
            del push.query[name]
        else:
            push.query[name] = rng.choice([spoil_text(rng, push.query[name]), rng.choice(JUNK).decode("latin-1")])
    if rng.random() < 0.5:
        push.body = spoil_bytes(rng, push.body)
    part = rng.choice(AUTHENTICATED)
    push.query[part] = spoil_text(rng, push.query.get(part) or "x")
    encrypted = re.search(rb"(?<=<Encrypt><!\[CDATA\[).+(?=\]\]>)", push.body)
    if encrypted and rng.random() < 0.5:
        push.body = push.body.replace(encrypted[0], spoil_text(rng, encrypted[0].decode("latin-1")).encode())
    return push


@pytest.fixture(scope="module")
def seed() -> int:
    """Another one in each run; WECHAT_TEST_SEED repeats a run."""
    return int(os.environ.get("WECHAT_TEST_SEED", random.SystemRandom().randrange(2**32)))


def test_mutated_pushes_bind_no_merchant(system, full_form, seed):
    """No 5xx, no traceback, no binding; afterwards the attacked code still binds."""
    partner = system.merchant("武夷山大红袍茶厂")
    scene = system.code(partner)["scene_str"]
    marks = [server.log.stat().st_size for server in system.servers]
    channels = [system.channel.at(server.url) for server in system.servers]

    def attack(number: int) -> tuple[int, int]:
        rng = random.Random(f"{seed}:{number}")
        mutate = mutate_inside if number % 2 else mutate_outside
        return number, mutate(rng, channels[number // 2 % 2], scene).send(channels[number // 2 % 2]).status

    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(attack, range(PUSHES[full_form])))
    broken = [number for number, status in answers if status >= 500]
    assert not broken, f"seed {seed}, pushes {broken[:10]}"
    logs = "".join(server.read_log(mark) for server, mark in zip(system.servers, marks, strict=True))
    assert "Traceback" not in logs, f"seed {seed}"
    assert system.bindings(partner) == []
    assert not system.admin.find("wechat.binding", [("partner_id", "=", partner)], ["state"])
    statuses = {inside: Counter(status for number, status in answers if number % 2 == inside) for inside in (0, 1)}
    assert statuses[0].keys() <= {400, 403, 413, 429}, "a spoilt envelope is refused"
    assert statuses[1][200] > PUSHES[full_form] * 0.4, "a validly signed push is accepted with any content"
    openid = pushes.new_openid()
    assert "绑定成功" in pushes.scan(system.channel, openid, scene).send(system.channel).text
