"""WeChat is down, slow, resets connections or sends invalid answers: the admin's messages, and the stored state.

Codes, 测试连接 and bulk generation; `test_outbox_errors` has the same for messages.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.odoo import OdooError, at_once, timed, wait_for
from support.outbox import SEND
from support.system import System, line_about

QR_PATH = "/cgi-bin/qrcode/create"
CHECK_PATH = "/cgi-bin/getcallbackip"
UNREACHABLE, NO_ANSWER = "无法连接微信服务器。", "微信没有应答，或返回的内容不是微信的应答。"
# The failure, its message, and the remedy.
WAYS = {
    "refused": (None, UNREACHABLE, "请检查服务器的网络"),
    "reset": ({"reset": True}, NO_ANSWER, "请稍后重试"),
    "HTTP 502": ({"http": 502}, NO_ANSWER, "请稍后重试"),
    "HTML": ({"html": True}, NO_ANSWER, "请稍后重试"),
    "empty": ({"empty": True}, NO_ANSWER, "请稍后重试"),
}
# We wait 10 seconds for an answer.
PATIENCE_SECONDS = 10
SLOW = {"timeout": PATIENCE_SECONDS + 5}
SLACK_SECONDS = 4


@contextmanager
def away(system: System, fault: dict | None) -> Iterator[None]:
    """Let all calls fail in one way; None refuses connections."""
    account_ids = [system.account_id]
    if fault:
        for path in (QR_PATH, CHECK_PATH):
            system.sandbox.post("faults", path=path, times=0, **fault)
    else:
        system.admin.call("wechat.account", "write", account_ids, {"api_base_url": "http://127.0.0.1:9"})
    try:
        yield
    finally:
        system.sandbox.post("faults/release")
        if not fault:
            system.admin.call("wechat.account", "write", account_ids, {"api_base_url": system.sandbox.url})


def fail_to_generate(system: System, partner_id: int) -> str:
    """Press 生成绑定码, which fails; return the error message."""
    with pytest.raises(OdooError) as caught:
        system.code(partner_id)
    assert caught.value.name == "odoo.exceptions.UserError"
    return caught.value.message


def assert_no_code(system: System, partner_id: int) -> None:
    """Check that no code and no log line is left, and that the next try works."""
    assert not system.admin.find("wechat.bind.code", [("partner_id", "=", partner_id)], ["state"])
    assert not system.operations(partner_id, "generate")
    assert system.code(partner_id)["state"] == "active"


def read_lines(system: System, batch_id: int) -> list[dict]:
    """Return the lines of a bulk generation."""
    fields = ["partner_id", "state", "reason", "attempts", "next_attempt_at"]
    return system.admin.find("wechat.bind.batch.line", [("batch_id", "=", batch_id)], fields, order="id")


def begin_batch(system: System, partner_ids: list[int]) -> int:
    """Press 生成绑定码 for several merchants, and wait until all lines are postponed; return the batch."""
    batch_id = system.admin.call("res.partner", "action_wechat_bind_code", partner_ids)["res_id"]
    wait_for(lambda: all(line["next_attempt_at"] for line in read_lines(system, batch_id)), "all wait")
    return batch_id


def assert_batch_waits(system: System, batch_id: int, *words: str) -> None:
    """Check that lines are postponed with a reason, and done after WeChat is back.

    After the first failures the remaining calls are not made.
    """
    lines = read_lines(system, batch_id)
    assert {line["state"] for line in lines} == {"pending"}
    reasons = [line["reason"] for line in lines if line["attempts"]]
    assert reasons and all(word in reason for reason in reasons for word in words), lines
    system.database.execute(
        "UPDATE wechat_bind_batch_line SET next_attempt_at = now() AT TIME ZONE 'UTC' - interval '1 second'"
        " WHERE batch_id = %s",
        batch_id,
    )
    system.run_cron("model._cron_drain()")
    wait_for(lambda: all(line["state"] == "done" for line in read_lines(system, batch_id)), "all have their codes")
    codes = system.admin.find(
        "wechat.bind.code", [("partner_id", "in", [line["partner_id"] for line in lines])], ["state"]
    )
    assert [code["state"] for code in codes] == ["active"] * len(lines)


@pytest.mark.parametrize("way", WAYS)
def test_failed_generation_leaves_no_code(system, way):
    """The admin reads the error and its remedy; no code is left."""
    fault, meaning, remedy = WAYS[way]
    partner_id = system.merchant(f"微信不在时的商家 {way}")
    with away(system, fault):
        message = fail_to_generate(system, partner_id)
    assert all(words in message for words in ("绑定码", meaning, remedy)), message
    assert_no_code(system, partner_id)


@pytest.mark.parametrize("way", WAYS)
def test_connection_check_stops_at_the_first_failure(system, way):
    """测试连接 stops at the first failed call, and the overview shows the problem until the next success."""
    fault, meaning, remedy = WAYS[way]
    with away(system, fault):
        lines = system.check_connection()
    line = line_about(lines, "AppSecret")
    assert line["result"] == "error"
    assert all(words in line["message"] for words in (meaning, remedy)), line
    assert {line_about(lines, word)["result"] for word in ("二维码", "模板消息")} == {"skipped"}
    [account] = system.admin.read("wechat.account", [system.account_id], ["last_check_error"])
    assert meaning in account["last_check_error"]
    assert system.check_of("AppSecret")["result"] == "ok"
    [account] = system.admin.read("wechat.account", [system.account_id], ["last_check_error"])
    assert not account["last_check_error"]


@pytest.mark.parametrize("way", WAYS)
def test_bulk_generation_pauses_and_goes_on(system, way):
    """A bulk generation pauses with a reason, and goes on."""
    fault, meaning, remedy = WAYS[way]
    partner_ids = [system.merchant(f"批量 {way} {number}") for number in range(3)]
    with away(system, fault):
        batch_id = begin_batch(system, partner_ids)
    assert_batch_waits(system, batch_id, meaning, remedy)


@pytest.mark.timed
def test_slow_wechat_is_cut_off_at_the_time_limit(system, outbox):
    """Every action ends within our time limit, with an ambiguous result."""
    partner_id, *partner_ids = [system.merchant(f"等不到的商家 {number}") for number in range(3)]
    [message_id] = outbox.queue(outbox.new_merchant())
    system.sandbox.post("faults", path=SEND, times=0, **SLOW)
    with away(system, SLOW):
        (message, generating), (lines, checking), batch_id, _nothing = at_once(
            [
                lambda: timed(lambda: fail_to_generate(system, partner_id)),
                lambda: timed(system.check_connection),
                lambda: begin_batch(system, partner_ids),
                outbox.drain,
            ]
        )
    assert PATIENCE_SECONDS < generating < PATIENCE_SECONDS + SLACK_SECONDS
    # Odoo repeats a request after a concurrent update: 测试连接 and the outbox both write the account.
    assert PATIENCE_SECONDS < checking < 2 * PATIENCE_SECONDS + SLACK_SECONDS
    assert NO_ANSWER in message
    assert NO_ANSWER in line_about(lines, "AppSecret")["message"]
    assert_no_code(system, partner_id)
    assert_batch_waits(system, batch_id, NO_ANSWER)
    sent = outbox.read(message_id)
    assert (sent["state"], sent["errcode"], sent["first_call_at"] is not None) == ("outgoing", 0, True)
    assert sent["next_attempt_at"], "it is repeated under its number"
