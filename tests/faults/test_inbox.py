"""An unwritable inbox: WeChat gets a 503, and its redelivery binds."""

from collections.abc import Iterator

import pytest
from support import pushes

REFUSALS = 2
TRIGGER = f"""
    CREATE SEQUENCE test_inbox_tries;
    CREATE FUNCTION test_inbox_is_unwritable() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        -- A sequence does not roll back: it counts the tries.
        IF nextval('test_inbox_tries') <= {REFUSALS} THEN
            RAISE EXCEPTION 'disk full (the test says)' USING ERRCODE = 'disk_full';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER test_inbox_is_unwritable BEFORE INSERT ON wechat_event
        FOR EACH ROW EXECUTE FUNCTION test_inbox_is_unwritable();
"""
CLEANING = """
    DROP TRIGGER IF EXISTS test_inbox_is_unwritable ON wechat_event;
    DROP FUNCTION IF EXISTS test_inbox_is_unwritable();
    DROP SEQUENCE IF EXISTS test_inbox_tries;
"""


@pytest.fixture
def unwritable_inbox(system) -> Iterator[None]:
    """The first inserts into the inbox fail as on a full disk."""
    system.database.execute(TRIGGER)
    yield
    system.database.execute(CLEANING)


def test_redelivery_binds(system, unwritable_inbox):
    """The platform's own retries bind as soon as the inbox can be written."""
    partner = system.merchant("凤凰古城姜糖铺")
    result = system.sandbox.scan("凤凰姜糖-老滕", system.code(partner)["qr_content"])
    assert [tried["status"] for tried in result["tries"]] == [503] * REFUSALS + [200]
    assert "绑定成功" in result["reply"]
    assert system.state(partner) == "bound"


def test_refused_push_leaves_no_row(system, unwritable_inbox):
    """A 503 is answered in time and leaves no row and no binding; the same bytes bind later."""
    partner = system.merchant("婺源油菜花民宿")
    openid = pushes.new_openid()
    push = pushes.scan(system.channel, openid, system.code(partner)["scene_str"])
    for _try in range(REFUSALS):
        answer = push.send(system.channel)
        assert (answer.status, answer.seconds < pushes.WECHAT_WAITS) == (503, True)
        assert (system.events(("openid", "=", openid)), system.state(partner)) == ([], "unbound")
    assert "绑定成功" in push.send(system.channel).text
    assert system.state(partner) == "bound"
