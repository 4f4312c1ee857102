"""Parametric QR codes (生成带参数的二维码): qrcode/create, the picture, and the look-up of a scanned code."""

import asyncio
import base64
import io
import secrets
import time
from functools import lru_cache
from urllib.parse import parse_qs, urlsplit

import qrcode
from aiohttp import web

from errors import ApiError
from state import Code, SandboxError, State

MAX_SECONDS = 2_592_000
# The present page says 60 s when expire_seconds is left out: callers must always send it.
DEFAULT_SECONDS = 60
SCENE_LENGTH = 64
PERMANENT_CODES = 100_000
TEMPORARY = {"QR_SCENE": "scene_id", "QR_STR_SCENE": "scene_str"}
PERMANENT = {"QR_LIMIT_SCENE": "scene_id", "QR_LIMIT_STR_SCENE": "scene_str"}
URL_PREFIX = "http://weixin.qq.com/q/"


def new_ticket() -> str:
    """A ticket as WeChat's: base64 text with "+", "/" and "=", which must be escaped in a query."""
    text = base64.b64encode(secrets.token_bytes(70)).decode()
    return f"gQ{text[:20]}+{text[20:40]}/{text[40:]}"


def read_scene(data: dict) -> tuple[str, str]:
    """Return action name and scene of a qrcode/create body.

    :raises ApiError: 40052, 40053
    """
    action = data.get("action_name")
    kind = (TEMPORARY | PERMANENT).get(action) if isinstance(action, str) else None
    if kind is None:
        raise ApiError(40052)
    try:
        scene = data["action_info"]["scene"][kind]
    except (KeyError, TypeError):
        raise ApiError(40053) from None
    if kind == "scene_str":
        valid = isinstance(scene, str) and 1 <= len(scene) <= SCENE_LENGTH
    else:
        limit = 100_000 if action in PERMANENT else 2**32 - 1
        valid = isinstance(scene, int) and not isinstance(scene, bool) and 1 <= scene <= limit
    if not valid:
        raise ApiError(40053)
    return action, str(scene)


async def create(call) -> dict:
    """POST /cgi-bin/qrcode/create."""
    call.require_rights()
    data = call.json
    action, scene = read_scene(data)
    now = time.time()
    if action in PERMANENT:
        seconds = None
        if call.state.permanent_codes[call.account.app_id] >= PERMANENT_CODES:
            raise ApiError(45029)
    else:
        seconds = data.get("expire_seconds", DEFAULT_SECONDS)
        if not isinstance(seconds, int) or isinstance(seconds, bool) or not 1 <= seconds <= MAX_SECONDS:
            raise ApiError(47001, "data format error: expire_seconds")
    url = URL_PREFIX + "02" + secrets.token_urlsafe(15)
    code = Code(call.account.app_id, new_ticket(), url, action, scene, now, seconds and now + seconds)
    call.state.add_code(code)
    answer = {"ticket": code.ticket, "url": url}
    if seconds:
        answer["expire_seconds"] = seconds
    return answer


@lru_cache(maxsize=256)
def picture(url: str) -> bytes:
    """Draw the code as WeChat does: a JPEG of about 430 pixels."""
    image = qrcode.make(url, box_size=12, border=2).get_image().convert("L")
    buffer = io.BytesIO()
    image.resize((430, 430)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


async def show(state: State, request: web.Request) -> web.Response:
    """GET /cgi-bin/showqrcode?ticket=: the picture, without login; 404 for a ticket that is unknown or has expired."""
    code = state.codes.get(request.query.get("ticket", ""))
    if code is None or code.expired():
        return web.Response(status=404)
    body = await asyncio.get_running_loop().run_in_executor(None, picture, code.url)
    return web.Response(body=body, content_type="image/jpg")


def find(state: State, content: str) -> Code:
    """Return the open code that a phone reads: the code's text, its ticket, or a link to its picture.

    :raises SandboxError: 404 no such code, 410 expired
    """
    content = str(content or "").strip()
    code = state.codes_by_url.get(content.replace("https://", "http://", 1)) or state.codes.get(content)
    if code is None and "ticket=" in content:
        code = state.codes.get(parse_qs(urlsplit(content).query).get("ticket", [""])[0])
    if code is None:
        raise SandboxError("这不是本平台的二维码 (unknown code)", 404)
    if code.expired():
        raise SandboxError("二维码已过期 (expired code)", 410)
    return code
