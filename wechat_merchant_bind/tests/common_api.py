"""The mock of WeChat's API."""

import io
import itertools
import json
from collections import defaultdict, deque
from urllib.parse import parse_qsl, urlsplit

import requests

API_HOST = "api.weixin.qq.com"
BACKUP_HOST = "api2.weixin.qq.com"
TOKEN_PATH = "/cgi-bin/stable_token"
QR_PATH = "/cgi-bin/qrcode/create"
USER_PATH = "/cgi-bin/user/info"
USERS_PATH = "/cgi-bin/user/info/batchget"
TEMPLATES_PATH = "/cgi-bin/template/get_all_private_template"
ADD_TEMPLATE_PATH = "/cgi-bin/template/api_add_template"
SEND_PATH = "/cgi-bin/message/template/send"
CUSTOM_SEND_PATH = "/cgi-bin/message/custom/send"
FOLLOWERS_PATH = "/cgi-bin/user/get"
QUOTA_PATH = "/cgi-bin/openapi/quota/get"
CALLBACK_IPS_PATH = "/cgi-bin/getcallbackip"

# As large as WeChat's ids: too large for a float or a 32-bit column.
FIRST_MSGID = 3717005636572528642


class WechatCall:
    """One request that the addon made to WeChat."""

    def __init__(self, request):
        url = urlsplit(request.url)
        self.host = url.hostname
        self.path = url.path
        self.query = dict(parse_qsl(url.query))
        self.payload = json.loads(request.body) if request.body else None

    def __repr__(self):
        return f"<{self.path} {self.payload}>"


class WechatApiMock:
    """Answer the addon's calls with WeChat's success responses, or with those that a test has set.

    A call that the mock does not know fails the test.
    """

    def __init__(self):
        self.calls = []
        self.token = "access-token-1"
        self._answers = defaultdict(deque)
        self._serial = itertools.count(1)

    def answer(self, path, *answers):
        """Set the answers of the next calls of a path, one each.

        :param answers: a dict (WeChat's JSON), an int (an HTTP status), an exception of requests to raise, or a
            function that takes the WechatCall and returns one of these.
        """
        self._answers[path].extend(answers)

    def count(self, path):
        """Return how often a path was called."""
        return sum(call.path == path for call in self.calls)

    def renew_token(self):
        """Replace the access token: calls with the former one are refused."""
        self.token = f"access-token-{next(self._serial) + 1}"

    def handle(self, request):
        """Record a request and return its response."""
        call = WechatCall(request)
        self.calls.append(call)
        if self._answers[call.path]:
            answer = self._answers[call.path].popleft()
        else:
            answer = self._get_answer(call)
        if callable(answer):
            answer = answer(call)
        if isinstance(answer, Exception):
            raise answer
        return self._make_response(request, answer)

    def _get_answer(self, call):
        if call.path == TOKEN_PATH:
            assert call.payload["force_refresh"] is False, "A forced refresh invalidates the token of other processes"
            return {"access_token": self.token, "expires_in": 7200}
        if call.query.get("access_token") != self.token:
            return {"errcode": 40001, "errmsg": "invalid credential, access_token is invalid or not latest rid: 1-2-3"}
        if call.path == QR_PATH:
            serial = next(self._serial)
            return {
                "ticket": f"gQH47joAAAAAAAAA+{serial}/==",
                "url": f"http://weixin.qq.com/q/02test{serial:06}",
                "expire_seconds": call.payload["expire_seconds"],
            }
        if call.path == USER_PATH:
            return {"subscribe": 1, "openid": call.query["openid"]}
        if call.path == USERS_PATH:
            return {"user_info_list": [{"subscribe": 1, **user} for user in call.payload["user_list"]]}
        if call.path == TEMPLATES_PATH:
            return {"template_list": [{"template_id": "t1", "title": "订单通知"}]}
        if call.path == ADD_TEMPLATE_PATH:
            return {"template_id": f"library-{call.payload['template_id_short']}"}
        if call.path == SEND_PATH:
            return {"errcode": 0, "errmsg": "ok", "msgid": FIRST_MSGID + next(self._serial)}
        if call.path == CUSTOM_SEND_PATH:
            return {"errcode": 0, "errmsg": "ok"}
        if call.path == FOLLOWERS_PATH:
            return {"total": 0, "count": 0, "next_openid": ""}
        if call.path == QUOTA_PATH:
            return {"errcode": 0, "errmsg": "ok", "quota": {"daily_limit": 100_000, "used": 0, "remain": 100_000}}
        if call.path == CALLBACK_IPS_PATH:
            return {"ip_list": ["101.226.103.0/25"]}
        raise AssertionError(f"The mock does not know this call: {call}")

    def _make_response(self, request, answer):
        response = requests.Response()
        response.request = request
        response.url = request.url
        response.status_code = answer if isinstance(answer, int) else 200
        body = b"<html>error</html>" if isinstance(answer, int) else json.dumps(answer).encode()
        response.raw = io.BytesIO(body)
        return response
