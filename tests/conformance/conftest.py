"""A sandbox for every test, with the SDK as caller and receiver."""

import pytest
from sandbox_harness import Sandbox, Server, ToSandbox
from wechatpy import WeChatClient


@pytest.fixture(scope="session")
def process():
    """The sandbox's process, one for the whole run."""
    sandbox = Sandbox()
    yield sandbox
    sandbox.stop()


@pytest.fixture
def sandbox(process):
    """A sandbox with only its default account."""
    process.post("reset")
    return process


@pytest.fixture
def account(sandbox):
    """The default account's settings."""
    return sandbox.get("state")["accounts"][0]


@pytest.fixture
def make_client(sandbox):
    """Return a function that makes an unmodified SDK client for an account."""

    def make(settings, **options):
        client = WeChatClient(settings["app_id"], settings["secret"], **options)
        client._http.mount("https://", ToSandbox(sandbox))
        return client

    return make


@pytest.fixture
def client(make_client, account):
    """The SDK's client for the default account; it does not repeat calls by itself."""
    return make_client(account, auto_retry=False)


@pytest.fixture
def server(sandbox, account):
    """The default account's server, already entered in its settings. Pushes are repeated without a pause."""
    server = Server(account)
    server.account = sandbox.post("accounts", app_id=account["app_id"], webhook_url=server.url, retry_delay=0)
    yield server
    server.stop()


@pytest.fixture
def make_code(client):
    """Return a function that creates a code by the SDK."""

    def make(scene="mb_test", **more):
        return client.qrcode.create(
            {
                "expire_seconds": 600,
                "action_name": "QR_STR_SCENE",
                "action_info": {"scene": {"scene_str": scene}},
                **more,
            }
        )

    return make
