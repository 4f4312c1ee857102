"""测试连接 against a platform that refuses calls, and the errors that an admin reads."""

import pytest
from support.odoo import OdooError
from support.system import line_about

QR_PATH = "/cgi-bin/qrcode/create"


@pytest.fixture
def own_address(system):
    """Entries of the platform's IP allow-list, put back after the test."""
    yield lambda *addresses: system.sandbox.post("accounts", app_id=system.channel.app_id, ip_allow=list(addresses))
    system.sandbox.post("accounts", app_id=system.channel.app_id, ip_allow=None)


def test_sound_account_passes_the_check(system):
    """All checks on WeChat pass; the demo's address is reported as unreachable for phones."""
    system.sandbox.post("check")
    lines = system.check_connection()
    assert line_about(lines, "AppSecret")["result"] == "ok"
    assert line_about(lines, "二维码")["result"] == "ok"
    assert line_about(lines, "模板消息")["result"] == "ok"
    address = line_about(lines, "本系统")
    assert (address["result"], system.url in address["message"]) == ("error", True)


def test_refused_address_is_named(system, own_address):
    """40164 names the address that has to be added, in the check and in the admin's own error."""
    own_address("203.0.113.9")
    system.forget_token()
    line = system.check_of("AppSecret")
    assert line["result"] == "error"
    assert "40164" in line["message"]
    assert "127.0.0.1" in line["message"]
    with pytest.raises(OdooError, match=r"(?s)绑定码.*127\.0\.0\.1.*40164") as caught:
        system.code(system.merchant("等待白名单的商家"))
    assert caught.value.name == "odoo.exceptions.UserError"


def test_wrong_secret_is_named(system):
    """A wrong AppSecret is named as such; nothing that needs a token is tried after it."""
    secret = system.sandbox.account()["secret"]
    system.admin.call("wechat.account", "write", [system.account_id], {"app_secret": "0" * 32})
    try:
        lines = system.check_connection()
    finally:
        system.admin.call("wechat.account", "write", [system.account_id], {"app_secret": secret})
    line = line_about(lines, "AppSecret")
    assert (line["result"], "40125" in line["message"], "AppSecret" in line["message"]) == ("error", True, True)
    assert line_about(lines, "二维码")["result"] == "skipped"


def test_missing_right_is_named(system):
    """48001 says that the account lacks the right, and only where it does."""
    system.sandbox.post("faults", path=QR_PATH, errcode=48001, times=1)
    lines = system.check_connection()
    line = line_about(lines, "二维码")
    assert (line["result"], "48001" in line["message"]) == ("error", True)
    assert line_about(lines, "AppSecret")["result"] == "ok"


@pytest.mark.parametrize(
    "fault, words",
    [
        ({"errcode": 45009}, "45009"),
        ({"errcode": 48001}, "48001"),
        ({"errcode": -1}, "-1"),
    ],
    ids=str,
)
def test_failed_generation_is_a_user_error(system, fault, words):
    """Each failure of WeChat is a readable error, leaves no code, and the next try works."""
    partner = system.merchant(f"运气不好的商家 {fault}")
    # Twice: a request that was never written is tried at the backup host once.
    system.sandbox.post("faults", path=QR_PATH, times=2, **fault)
    try:
        with pytest.raises(OdooError, match=words) as caught:
            system.code(partner)
    finally:
        system.sandbox.post("faults/release", path=QR_PATH)
    assert caught.value.name == "odoo.exceptions.UserError"
    assert not system.admin.find("wechat.bind.code", [("partner_id", "=", partner)], ["state"])
    assert system.code(partner)["state"] == "active"
