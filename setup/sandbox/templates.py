"""Template messages (模板消息): the library, an account's own templates, and message/template/send."""

import base64
import hashlib
import re
import time

from errors import ApiError
from keywords import keys_of, refusal, shown

TEMPLATES_AN_ACCOUNT = 25
CLIENT_MSG_ID = re.compile(r"[A-Za-z0-9_-]+")
CLIENT_MSG_ID_LENGTH = 32
CLIENT_APP_ID = re.compile(r"wx[0-9a-f]{16}")

# The library: number -> title, the words that may be picked with their keys, approved values of enumerated keys.
LIBRARY = {
    "43216": ("新订单通知", "订单号=character_string1 金额=amount2 商家=thing3 下单时间=time4 订单状态=phrase5", {}),
    "43217": ("订单发货通知", "订单号=character_string1 物流公司=thing2 物流单号=character_string3 发货时间=time4", {}),
    "43218": ("付款到账通知", "单据号=character_string1 付款金额=amount2 付款方=thing3 到账时间=time4", {}),
    "43219": (
        "对账单提醒",
        "对账周期=thing1 应付金额=amount2 截止日期=date3 状态=const4",
        {"const4": ["待确认", "已确认", "已逾期"]},
    ),
    "43220": ("库存预警提醒", "商品名称=thing1 当前库存=number2 仓库=short_thing3 联系电话=phone_number4", {}),
    "43222": ("审核结果通知", "单据号=character_string1 审核结果=phrase2 金额=amount3 审核时间=time4", {}),
    "43221": ("服务进度提醒", "客户姓名=name1 车牌号=car_number2 服务项目=thing3 完成时间=time4", {}),
}
DEFAULT_TEMPLATES = ("43216", "43217", "43218", "43219")


def words(short_id: str) -> dict[str, str]:
    """The words of a library template and their keys, such as {"订单号": "character_string1"}."""
    return dict(pair.split("=") for pair in LIBRARY[short_id][1].split())


def build(app_id: str, short_id: str, picked: list[str]) -> dict:
    """A template of an account as get_all_private_template shows it, plus `allowed` (approved values)."""
    title, _words, allowed = LIBRARY[short_id]
    keys = words(short_id)
    digest = hashlib.sha256(f"{app_id}:{short_id}:{','.join(picked)}".encode()).digest()
    # WeChat's documentation writes both {{x.DATA}} and { {x.DATA} }: callers must read either.
    form = "{ {%s.DATA} }" if short_id == "43217" else "{{%s.DATA}}"
    return {
        "template_id": base64.urlsafe_b64encode(digest).decode()[:43],
        "title": title,
        "primary_industry": "",
        "deputy_industry": "",
        "content": "".join(f"{word}:{form % keys[word]}\n" for word in picked),
        "example": "".join(f"{word}:示例\n" for word in picked),
        "allowed": allowed,
    }


def default_templates(app_id: str) -> dict[str, dict]:
    """The templates every account begins with, by template_id."""
    made = (build(app_id, short_id, list(words(short_id))) for short_id in DEFAULT_TEMPLATES)
    return {template["template_id"]: template for template in made}


def custom_template(app_id: str, data: dict) -> dict:
    """A template given by the sandbox's user: `title` and `content`; `template_id` and `allowed` may be left out."""
    title, content = str(data["title"]), str(data["content"])
    digest = hashlib.sha256(f"{app_id}:{title}:{content}".encode()).digest()
    return {
        "template_id": str(data.get("template_id") or base64.urlsafe_b64encode(digest).decode()[:43]),
        "title": title,
        "primary_industry": "",
        "deputy_industry": "",
        "content": content,
        "example": str(data.get("example", "")),
        "allowed": dict(data.get("allowed", {})),
    }


async def list_private(call) -> dict:
    """GET /cgi-bin/template/get_all_private_template."""
    call.require_rights()
    shown = ("template_id", "title", "primary_industry", "deputy_industry", "content", "example")
    return {"template_list": [{name: item[name] for name in shown} for item in call.account.templates.values()]}


async def add(call) -> dict:
    """POST /cgi-bin/template/api_add_template {template_id_short, keyword_name_list}."""
    call.require_rights()
    short_id = str(call.json.get("template_id_short") or "")
    picked = call.json.get("keyword_name_list")
    if short_id not in LIBRARY:
        raise ApiError(40037)
    known = words(short_id)
    if (
        not isinstance(picked, list)
        or not picked
        or not all(isinstance(word, str) and word in known for word in picked)
    ):
        raise ApiError(40246)
    template = build(call.account.app_id, short_id, picked)
    if template["template_id"] not in call.account.templates:
        if len(call.account.templates) >= TEMPLATES_AN_ACCOUNT:
            raise ApiError(45026)
        call.account.templates[template["template_id"]] = template
        call.state.changed()
    return {"template_id": template["template_id"]}


async def delete(call) -> dict:
    """POST /cgi-bin/template/del_private_template {template_id}."""
    call.require_rights()
    template_id = call.json.get("template_id")
    if not isinstance(template_id, str) or call.account.templates.pop(template_id, None) is None:
        raise ApiError(40037)
    call.state.changed()
    return {}


def check_values(template: dict, data: dict):
    """Check every keyword of the template against its type.

    :raises ApiError: 47003 naming the first field that does not fit
    """
    for key in keys_of(template["content"]):
        entry = data.get(key)
        value = entry.get("value") if isinstance(entry, dict) else None
        reason = refusal(key, value, template["allowed"])
        if reason:
            raise ApiError(47003, reason)


def rendered_lines(template: dict, data: dict) -> list[dict]:
    """The lines of the card as a phone shows them: [{label, value}], without empty and hidden ones."""
    lines = []
    for line in template["content"].splitlines():
        for key in keys_of(line):
            entry = data.get(key)
            value = shown(key, str(entry.get("value", ""))) if isinstance(entry, dict) else ""
            if value:
                lines.append({"label": re.split("[:：{]", line, maxsplit=1)[0].strip(), "value": value})
    return lines


async def send(call) -> dict:
    """POST /cgi-bin/message/template/send: check as production does, deliver to the chat, push the receipt."""
    call.require_rights()
    account, message = call.account, call.json
    follower = call.recipient(message.get("touser"))
    template_id = message.get("template_id")
    template = account.templates.get(template_id) if isinstance(template_id, str) else None
    if template is None:
        raise ApiError(40037)
    if not follower.subscribed:
        raise ApiError(43004)
    if follower.blacklisted:
        raise ApiError(43019)
    data = message.get("data")
    if not isinstance(data, dict):
        raise ApiError(47001)
    program = message.get("miniprogram") or {}
    if program and not (isinstance(program, dict) and CLIENT_APP_ID.fullmatch(str(program.get("appid")))):
        raise ApiError(40013)
    client_msg_id = message.get("client_msg_id")
    if client_msg_id is not None:
        if not isinstance(client_msg_id, str) or not CLIENT_MSG_ID.fullmatch(client_msg_id):
            raise ApiError(47001, "data format error: client_msg_id")
        if len(client_msg_id) > CLIENT_MSG_ID_LENGTH:
            raise ApiError(45067)
        former = account.already_sent(follower.openid, client_msg_id)
        if former:
            if account.duplicate_answer:
                raise ApiError(account.duplicate_answer, msg_id=former)
            call.entry.update(msgid=former, repeats=True)
            return {"msgid": former}
    # A test account takes any value; that is why passing there proves nothing.
    if account.kind == "service":
        check_values(template, data)
    msgid = call.state.next_msgid()
    call.entry["msgid"] = msgid
    if client_msg_id is not None:
        account.remember_sent(follower.openid, client_msg_id, msgid)
    status = account.receipt_status or ("failed:user block" if follower.blocked else "success")
    if status == "success":
        account.chat(
            follower,
            "account",
            "template",
            template["title"],
            template={"title": template["title"], "lines": rendered_lines(template, data)},
            url=program.get("pagepath") or message.get("url") or "",
            msgid=str(msgid),
        )
        call.state.changed()
    await call.pusher.receipt(
        account,
        [
            ("ToUserName", account.original_id),
            ("FromUserName", follower.openid),
            ("CreateTime", int(time.time())),
            ("MsgType", "event"),
            ("Event", "TEMPLATESENDJOBFINISH"),
            ("MsgID", msgid),
            ("Status", status),
        ],
    )
    return {"msgid": msgid}
