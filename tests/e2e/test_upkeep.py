"""Scheduled actions against the platform: the quota of messages, the digest of failures, and lost pushes."""

from collections.abc import Iterator

import pytest
from support.mailbox import Mailbox, open_mailbox
from support.odoo import wait_for
from support.running_outbox import SEND_PATH, RunningOutbox

MANAGER_EMAIL = "manager@example.com"
MESSAGES = 3
# The failure is a minute old, and later than the last digest.
MORNING = """
    UPDATE wechat_account SET failure_digest_at = now() AT TIME ZONE 'UTC' - interval '2 minutes';
    UPDATE wechat_message SET write_date = now() AT TIME ZONE 'UTC' - interval '1 minute' WHERE state = 'failed';
"""


@pytest.fixture(scope="module")
def outbox(system) -> RunningOutbox:
    """The outbox with running senders."""
    return RunningOutbox(system)


@pytest.fixture
def mailbox(system) -> Iterator[Mailbox]:
    with open_mailbox(system.admin) as mailbox:
        yield mailbox


@pytest.fixture
def platform(system) -> Iterator[None]:
    """The settings of the platform's account, restored at the end."""
    webhook_url = system.channel.url
    yield lambda **settings: system.sandbox.post("accounts", app_id=system.channel.app_id, **settings)
    system.sandbox.post("accounts", app_id=system.channel.app_id, quotas={}, webhook_url=webhook_url)


def check_quota(system) -> dict:
    """Run the scheduled action for the quota; return the account's fields."""
    system.database.execute("UPDATE wechat_account SET quota_checked_at = NULL")
    system.run_cron("model._cron_check_quota()")
    fields = ["quota_limit", "quota_used", "is_quota_short", "is_send_paused", "activity_ids"]
    return system.admin.read("wechat.account", [system.account_id], fields)[0]


def test_messages_beyond_the_quota_wait(system, outbox, platform):
    """The manager is warned before the quota is used up; further messages wait until WeChat allows more."""
    used = check_quota(system)["quota_used"]
    platform(quotas={SEND_PATH: used + 1})
    account = check_quota(system)
    assert (account["quota_limit"], account["quota_used"]) == (used + 1, used)
    before = outbox.states()
    partners = outbox.add_merchants(MESSAGES)
    outbox.queue(partners)
    wait_for(lambda: check_quota(system)["is_send_paused"], "WeChat refuses the second message")
    account = check_quota(system)
    assert (account["quota_used"], account["is_quota_short"]) == (used + 1, True)
    [activity] = system.admin.read("mail.activity", account["activity_ids"], ["summary", "note"])
    assert str(used + 1) in activity["note"]
    assert (outbox.states() - before)["outgoing"] == MESSAGES - 1
    platform(quotas={})
    account = check_quota(system)
    assert (account["is_send_paused"], account["is_quota_short"], account["activity_ids"]) == (False, False, [])
    outbox.wake_until(lambda: (outbox.states() - before)["delivered"] == MESSAGES, "all are sent")


def test_digest_reports_each_failure_once(system, outbox, mailbox):
    """Managers get a daily digest of failures with reasons, each failure once."""
    admin = system.admin
    admin.call("res.users", "write", [admin.user_id], {"email": MANAGER_EMAIL})
    admin.call("wechat.account", "write", [system.account_id], {"failure_digest": True})
    failed = outbox.states()["failed"]
    system.sandbox.post("faults", path=SEND_PATH, errcode=47003, errmsg="argument invalid! data.thing1.value invalid")
    outbox.queue(outbox.add_merchants(1))
    wait_for(lambda: outbox.states()["failed"] == failed + 1, "WeChat refuses the message")
    system.database.execute(MORNING)
    try:
        for _day in range(2):
            system.run_cron("model._cron_send_failure_digests()")
            system.run_cron("model.process_email_queue(batch_size=1000)")
    finally:
        admin.call("wechat.account", "write", [system.account_id], {"failure_digest": False})
    text = mailbox.wait(MANAGER_EMAIL).get_body(["plain"]).get_content()
    assert "内容不符合微信要求" in text, text
    assert not [message for message in mailbox.messages if MANAGER_EMAIL in message["To"]], "nothing has failed since"


def test_lost_pushes_are_reconciled(system, platform):
    """Unfollows and scans during an outage of the webhook are found by the reconciliation."""
    leaver, follower = system.merchant("断网时离开的商家"), system.merchant("断网时关注的商家")
    system.sandbox.scan("断网-老周", system.code(leaver)["qr_content"])
    # The OpenIDs of other tests' merchants have no phone.
    system.database.execute(
        "UPDATE wechat_binding SET reconciled_at = now() AT TIME ZONE 'UTC' WHERE partner_id IS DISTINCT FROM %s",
        leaver,
    )
    content = system.code(follower)["qr_content"]
    platform(webhook_url="http://127.0.0.1:9/")
    assert not system.sandbox.post("unfollow", user="断网-老周")["ok"]
    assert not system.sandbox.scan("断网-小吴", content)["ok"]
    assert (system.state(leaver), system.state(follower)) == ("bound", "unbound")
    platform(webhook_url=system.channel.url)
    system.run_cron("model._cron_reconcile()")
    assert (system.state(leaver), system.state(follower)) == ("unfollowed", "bound")
    assert len(system.operations(follower, "bind")) == 1
