"""A client of WeChat's HTTP API, based on requests.

Source of the calls: WeChat's API reference for service accounts (https://developers.weixin.qq.com/doc/service/api/).
The texts of its exceptions hold no access token, secret, OpenID or query of a call.
"""

import ipaddress
import json
import re
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import NewConnectionError

from .wechat_errors import (
    ADD_TEMPLATE_PATH,
    ALREADY_SENT,
    CHANGE_OPENID_PATH,
    FOLLOWERS_PATH,
    QR_PATH,
    QUOTA_PATH,
    SEND_PATH,
    TOKEN_PATHS,
    USER_PATH,
    USERS_PATH,
    WechatAmbiguous,
    WechatNotSent,
    from_response,
)
from .wechat_http import MAX_RESPONSE_BYTES, get_proxies, get_session, read_body

DEFAULT_BASE_URL = "https://api.weixin.qq.com"
BACKUP_HOST = "api2.weixin.qq.com"  # "disaster recovery" in WeChat's guide on API domains

CUSTOM_SEND_PATH = "/cgi-bin/message/custom/send"
USER_INFO_BATCH = 100  # OpenIDs that user/info/batchget takes at a time
CHANGE_OPENID_BATCH = 100  # OpenIDs that changeopenid takes at a time

_MSGID = re.compile(r"(?!0+\Z)[0-9]{1,20}")
_SANDBOX_HOST = "sandbox"  # host name in the project's compose network
_SECRET_NAMES = ("access_token", "secret", "openid", "touser")


def parse_msgid(value):
    """Return WeChat's number of a message, from the answer to its call or from its receipt.

    :param value: a 64-bit integer by the documentation, or the same as a string
    :return: the digits; None for any other value, and for 0, which WeChat gives to several messages
    :rtype: str | None
    """
    text = str(value)
    return text if _MSGID.fullmatch(text) else None


class WechatUrlError(ValueError):
    """A base URL cannot be used.

    :param str code: invalid, scheme (neither http nor https), credentials, query or fragment (the URL has one),
        insecure (plain http where it is not allowed)
    """

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def check_base_url(url, allow_insecure):
    """Return a base URL in its normal form: lower case, no default port, no trailing slash.

    :param str url: address of WeChat's API or of a stand-in, with or without a path
    :param bool allow_insecure: whether plain http is allowed to this machine and the sandbox of the compose network
    :rtype: str
    :raise WechatUrlError: if the URL cannot be used
    """
    url = (url or "").strip()
    # urlsplit drops tabs and line breaks, and servers interpret a backslash differently.
    if re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise WechatUrlError("invalid", "The URL holds a character that no URL has")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise WechatUrlError("invalid", "The URL is malformed") from None
    if parts.scheme not in ("http", "https"):
        raise WechatUrlError("scheme", "The URL must begin with https://")
    if "@" in parts.netloc:
        raise WechatUrlError("credentials", "The URL must not hold a user or password")
    if "?" in url:
        raise WechatUrlError("query", "The URL must not have a query")
    if "#" in url:
        raise WechatUrlError("fragment", "The URL must not have a fragment")
    if not _is_host(host) or port == 0:
        raise WechatUrlError("invalid", "The URL names no valid host")
    if parts.scheme == "http" and not (allow_insecure and _is_local(host)):
        raise WechatUrlError("insecure", "Plain http is only for a sandbox on this machine")
    netloc = f"[{host}]" if ":" in host else host
    if port not in (None, {"http": 80, "https": 443}[parts.scheme]):
        netloc += f":{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


class WechatClient:
    """WeChat's API. Threads may share a client.

    :param str base_url: from check_base_url
    :param str backup_url: tried once if the request could not be written to base_url; default: WeChat's own backup
        domain if base_url is WeChat's, else none
    :param timeout: seconds to connect, seconds without a byte of the answer; the whole answer has ANSWER_SECONDS
    :param requests.Session session: default: the session that all clients of this process and URL share
    """

    def __init__(self, base_url, backup_url=None, timeout=(3.05, 10.0), session=None):
        if backup_url is None and base_url == DEFAULT_BASE_URL:
            backup_url = f"https://{BACKUP_HOST}"
        self._proxies = {url: get_proxies(url) for url in (base_url, backup_url) if url}
        self._timeout = timeout
        self._session = session or get_session(base_url)

    def call(self, method, path, access_token=None, params=None, payload=None):
        """Call an API and return its answer.

        :param str method: GET or POST
        :param str path: begins with a slash
        :param str access_token: sent in the query
        :param dict params: the rest of the query
        :param dict payload: sent as JSON
        :rtype: dict
        :raise WechatError: the subclass for WeChat's errcode by the table of errors; WechatNotSent if the request was
            never written; WechatAmbiguous if there was no answer, or none of WeChat's
        """
        answer, error = self._exchange(method, path, access_token, params, payload)
        if error:
            raise error
        return answer

    def _exchange(self, method, path, access_token=None, params=None, payload=None):
        """Call an API; parameters and errors are those of call.

        :return: the answer, and the exception for its errcode if it has one other than 0
        :rtype: tuple[dict, WechatError | None]
        """
        params = dict(params or {})
        if access_token is not None:
            params["access_token"] = access_token
        request = {"method": method, "params": params}
        if payload is not None:
            # Raw UTF-8: WeChat refuses \uxxxx (40033), and old templates show it literally.
            request["data"] = json.dumps(payload, ensure_ascii=False).encode()
            request["headers"] = {"Content-Type": "application/json"}
        answer = self._parse(path, self._send(path, request))
        if answer.get("errcode") in (None, 0, "0"):
            return answer, None
        errmsg = _redact(answer.get("errmsg"), _get_secrets(params, payload))
        return answer, from_response(path, answer["errcode"], errmsg)

    def stable_token(self, app_id, app_secret):
        """Fetch the account's access token in normal mode: all callers get the same token while it is valid.

        :return: the token (512 characters or more) and the seconds for which it remains valid (at least 300)
        :rtype: tuple[str, int]
        :raise WechatError: as call
        """
        path = TOKEN_PATHS[0]
        payload = {"grant_type": "client_credential", "appid": app_id, "secret": app_secret, "force_refresh": False}
        answer = self.call("POST", path, payload=payload)
        return _get(path, answer, "access_token", str), _get(path, answer, "expires_in", int)

    def create_qr_code(self, access_token, scene_str, expire_seconds):
        """Create a temporary parametric QR code.

        :param str scene_str: 1 to 64 characters; the EventKey of a scan holds it
        :param int expire_seconds: at most 2592000 (30 days)
        :return: ticket, url (the content of the code) and expire_seconds
        :rtype: dict
        :raise WechatError: as call
        """
        path = QR_PATH
        payload = {
            "expire_seconds": expire_seconds,
            "action_name": "QR_STR_SCENE",
            "action_info": {"scene": {"scene_str": scene_str}},
        }
        answer = self.call("POST", path, access_token, payload=payload)
        return {
            "ticket": _get(path, answer, "ticket", str),
            "url": _get(path, answer, "url", str),
            "expire_seconds": _get(path, answer, "expire_seconds", int),
        }

    def get_all_private_template(self, access_token):
        """Return the templates of the account.

        :return: dicts with template_id, title, content, example, primary_industry and deputy_industry
        :rtype: list[dict]
        :raise WechatError: as call
        """
        path = "/cgi-bin/template/get_all_private_template"
        return _get(path, self.call("GET", path, access_token), "template_list", list)

    def add_template(self, access_token, template_id_short, keyword_name_list):
        """Add a template of WeChat's library to the account.

        :param str template_id_short: its number in the library
        :param list[str] keyword_name_list: the names of the wanted keywords, in the order of the card
        :return: the template's ID in the account
        :rtype: str
        :raise WechatError: as call
        """
        path = ADD_TEMPLATE_PATH
        payload = {"template_id_short": template_id_short, "keyword_name_list": keyword_name_list}
        return _get(path, self.call("POST", path, access_token, payload=payload), "template_id", str)

    def send_template(self, access_token, payload):
        """Send a template message.

        :param dict payload: touser (OpenID), template_id, data ({key: {"value": text}}); optionally url, miniprogram
            (appid, pagepath; takes precedence over url) and client_msg_id (WeChat sends one of the calls to an OpenID
            with the same value within 10 minutes)
        :return: msgid, the number of the message and of its receipt, see parse_msgid
        :rtype: dict
        :raise WechatError: as call
        """
        path = SEND_PATH
        answer, error = self._exchange("POST", path, access_token, payload=payload)
        if error:
            # The message was sent by an earlier call, the answer to which was lost; this answer holds its number.
            if error.errcode == ALREADY_SENT and (msgid := parse_msgid(answer.get("msg_id"))):
                return {"msgid": msgid}
            raise error
        return {"msgid": parse_msgid(_get(path, answer, "msgid", int | str))}

    def user_info(self, access_token, openid):
        """Return the data of a user; subscribe is 1 for a follower, else 0.

        :rtype: dict
        :raise WechatError: as call
        """
        path = USER_PATH
        answer = self.call("GET", path, access_token, params={"openid": openid})
        _get(path, answer, "subscribe", int)
        return answer

    def batchget_user_info(self, access_token, openids):
        """Return the data of several users.

        :param list[str] openids: at most 100
        :return: data as of user_info by OpenID, without the users that WeChat's answer leaves out
        :rtype: dict[str, dict]
        :raise WechatError: as call; 40003 for the whole batch if one OpenID is not the account's
        """
        path = USERS_PATH
        payload = {"user_list": [{"openid": openid} for openid in openids]}
        users = _get(path, self.call("POST", path, access_token, payload=payload), "user_info_list", list)
        asked, found = set(openids), {}
        for user in users:
            user = user if isinstance(user, dict) else {}
            _get(path, user, "subscribe", int)
            if (openid := _get(path, user, "openid", str)) in asked:
                found[openid] = user
        return found

    def get_followers(self, access_token, next_openid=""):
        """Return a page of up to 10,000 OpenIDs of the followers. WeChat allows 500 calls a day.

        :param str next_openid: the last OpenID of the previous page; empty for the first page
        :return: the OpenIDs, and next_openid for the next page; empty after the last follower
        :rtype: tuple[list[str], str]
        :raise WechatError: as call
        """
        path = FOLLOWERS_PATH
        answer = self.call("GET", path, access_token, params={"next_openid": next_openid} if next_openid else {})
        _get(path, answer, "total", int)
        data = answer.get("data")
        # A page without followers has no data.
        openids = _get(path, data, "openid", list) if isinstance(data, dict) else []
        return openids, str(answer.get("next_openid") or "")

    def change_openids(self, access_token, from_app_id, openids):
        """Translate the OpenIDs of an account whose followers were moved to the account of the access token.

        WeChat translates those of followers only, from the end of the move (账号迁移) and for 15 days. Source:
        https://kf.qq.com/faq/1901177NrqMr190117nqYJze.html, which documents no error codes.

        :param str from_app_id: AppID of the former account
        :param list[str] openids: at most 100
        :return: by OpenID, the new one or None, and WeChat's reason, "ok" for a new one; without the OpenIDs that
            WeChat's answer leaves out
        :rtype: dict[str, tuple[str | None, str]]
        :raise WechatError: as call
        """
        path = CHANGE_OPENID_PATH
        payload = {"from_appid": from_app_id, "openid_list": openids}
        results = _get(path, self.call("POST", path, access_token, payload=payload), "result_list", list)
        asked, found = set(openids), {}
        for result in results:
            result = result if isinstance(result, dict) else {}
            if (openid := _get(path, result, "ori_openid", str)) not in asked:
                continue
            reason = _redact(result.get("err_msg"), openids)
            found[openid] = (_get(path, result, "new_openid", str) if reason == "ok" else None, reason)
        return found

    def get_quota(self, access_token, api_path):
        """Return the daily quota of an API and its use.

        :param str api_path: begins with a slash
        :return: daily_limit, used and remain
        :rtype: dict
        :raise WechatError: as call
        """
        path = QUOTA_PATH
        quota = _get(path, self.call("POST", path, access_token, payload={"cgi_path": api_path}), "quota", dict)
        return {name: _get(path, quota, name, int) for name in ("daily_limit", "used", "remain")}

    def get_callback_ips(self, access_token):
        """Return the IP addresses from which WeChat pushes.

        :rtype: list[str]
        :raise WechatError: as call
        """
        path = "/cgi-bin/getcallbackip"
        return _get(path, self.call("GET", path, access_token), "ip_list", list)

    def send_custom_text(self, access_token, openid, content):
        """Send a customer-service message, for which the user must have scanned, followed or written shortly before.

        :param str openid: the recipient
        :param str content: the text; may hold line breaks
        :raise WechatError: as call; 45015 and 45047 if WeChat allows no more messages to this user
        """
        payload = {"touser": openid, "msgtype": "text", "text": {"content": content}}
        self.call("POST", CUSTOM_SEND_PATH, access_token, payload=payload)

    def _send(self, path, request):
        """Return status and body; from the backup host if the request could not be written to the first host."""
        for url, proxies in self._proxies.items():
            try:
                with self._session.request(
                    url=url + path,
                    proxies=proxies,
                    timeout=self._timeout,
                    allow_redirects=False,
                    stream=True,
                    **request,
                ) as response:
                    return response.status_code, read_body(response)
            except OSError as exc:  # the base class of the exceptions of requests
                failure = _describe(path, exc)
            if not isinstance(failure, WechatNotSent):
                break
        # Outside of the handler: the context would be the exception of requests, which holds the URL with the token.
        raise failure

    def _parse(self, path, response):
        """Return the JSON object of an answer."""
        status, body = response
        if status != 200:
            raise WechatAmbiguous(path, errmsg=f"HTTP status {status}")
        if len(body) > MAX_RESPONSE_BYTES:
            raise WechatAmbiguous(path, errmsg=f"the answer has more than {MAX_RESPONSE_BYTES} bytes")
        try:
            answer = json.loads(body)
            # Lone surrogates and NUL are valid JSON, but PostgreSQL stores neither. WeChat's answers hold none.
            json.dumps(answer, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or rb"\u0000" in body:
            raise WechatAmbiguous(path, errmsg="the answer is not a JSON object")
        return answer


def _describe(path, exc):
    """Return our exception for one of requests, without its text."""
    words = type(exc).__name__
    cause = exc
    while cause is not None:
        # str() of an exception of requests holds the URL; the text of the operating system and of OpenSSL does not.
        if isinstance(cause, OSError) and cause.strerror:
            words += f", {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    return (WechatNotSent if _is_unwritten(exc) else WechatAmbiguous)(path, errmsg=words)


def _is_unwritten(exc):
    if not isinstance(exc, requests.RequestException):
        # requests wraps all network errors. A missing file of certificates is the only other OSError.
        return isinstance(exc, OSError)
    reason = getattr(exc.args[0], "reason", None) if exc.args else None
    return isinstance(reason, NewConnectionError) or isinstance(
        exc,
        (
            requests.exceptions.ConnectTimeout,
            requests.exceptions.ProxyError,
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
        ),
    )


def _get_secrets(params, payload):
    payload = payload or {}
    secrets = [{**params, **payload}.get(name) for name in _SECRET_NAMES]
    return [*secrets, *(user["openid"] for user in payload.get("user_list", ())), *payload.get("openid_list", ())]


def _redact(text, secrets):
    text = str(text or "")
    for secret in secrets:
        if secret:
            text = text.replace(str(secret), "***")
    return text


def _get(path, answer, key, kind):
    """Return a required value of the answer."""
    value = answer.get(key)
    if not isinstance(value, kind) or value == "":
        raise WechatAmbiguous(path, errmsg=f"the answer has no {key}")
    return value


def _is_host(host):
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(re.fullmatch(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", host))
    return True


def _is_local(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", _SANDBOX_HOST)
