"""What a WeChat user does with his phone: scan, follow, unfollow, write. Each act pushes what WeChat would push."""

import time

from push import Pusher
from qrcodes import find
from state import TEST_ACCOUNT_FOLLOWERS, Account, Follower, SandboxError, State

# Chances to write to a follower as customer service: seconds and messages (客服消息下发条件).
AFTER_MESSAGE = (48 * 3600, 5)
AFTER_ACT = (60, 3)


class Phone:
    """All the phones of all the users."""

    def __init__(self, state: State, pusher: Pusher):
        self.state = state
        self.pusher = pusher

    async def scan(self, user: str, content: str, app_id: str | None = None) -> dict:
        """Scan a code; a new user follows by it.

        :raises SandboxError: unknown or expired code (nothing is pushed), or a code of another account than `app_id`
        """
        code = find(self.state, content)
        if app_id and app_id != code.app_id:
            raise SandboxError(f"the code belongs to another account: {code.app_id}")
        account = self.state.account(code.app_id)
        follower = account.follower(user, create=True)
        scene = code.scene
        fields = [("MsgType", "event"), ("Event", "SCAN"), ("EventKey", scene), ("Ticket", code.ticket)]
        if follower.subscribed:
            account.chat(follower, "system", "event", "扫描了二维码")
        else:
            self._subscribe(account, follower, "ADD_SCENE_QR_CODE", scene)
            fields[1:3] = [("Event", "subscribe"), ("EventKey", f"qrscene_{scene}")]
        follower.open_window(*AFTER_ACT)
        return await self._push(account, follower, fields)

    async def follow(self, user: str, app_id: str | None = None) -> dict:
        """Follow without a code: the EventKey is there and empty."""
        account = self.state.account(app_id)
        follower = account.follower(user, create=True)
        if follower.subscribed:
            raise SandboxError(f"{follower.name} already follows", 409)
        self._subscribe(account, follower, "ADD_SCENE_SEARCH", "")
        follower.open_window(*AFTER_ACT)
        return await self._push(account, follower, [("MsgType", "event"), ("Event", "subscribe"), ("EventKey", "")])

    async def unfollow(self, user: str, app_id: str | None = None) -> dict:
        """Unfollow: WeChat shows nothing that comes back."""
        account = self.state.account(app_id)
        follower = account.follower(user)
        if not follower.subscribed:
            raise SandboxError(f"{follower.name} does not follow", 409)
        follower.subscribed = False
        follower.windows = []
        account.chat(follower, "system", "event", "取消了关注")
        return await self._push(account, follower, [("MsgType", "event"), ("Event", "unsubscribe"), ("EventKey", "")])

    async def say(self, user: str, text: str, app_id: str | None = None) -> dict:
        """Send a text to the account."""
        account = self.state.account(app_id)
        follower = account.follower(user)
        if not str(text or "").strip():
            raise SandboxError("no text")
        if not follower.subscribed:
            raise SandboxError(f"{follower.name} does not follow: a stranger cannot write", 409)
        follower.open_window(*AFTER_MESSAGE)
        account.chat(follower, "user", "text", str(text))
        fields = [("MsgType", "text"), ("Content", str(text)), ("MsgId", self.state.next_msgid())]
        return await self._push(account, follower, fields)

    def _subscribe(self, account: Account, follower: Follower, how: str, scene: str):
        if account.kind == "test":
            followers = sum(other.subscribed for other in account.followers.values())
            if followers >= TEST_ACCOUNT_FOLLOWERS:
                raise SandboxError(f"a test account (测试号) has at most {TEST_ACCOUNT_FOLLOWERS} followers")
        follower.subscribed = True
        follower.subscribe_time = int(time.time())
        follower.subscribe_scene = how
        follower.qr_scene = scene
        account.chat(follower, "system", "event", "扫码关注了公众号" if scene else "关注了公众号")

    async def _push(self, account: Account, follower: Follower, fields: list) -> dict:
        self.state.changed()
        result = await self.pusher.event(account, follower, fields)
        return {"app_id": account.app_id, "user": follower.name, **result}
