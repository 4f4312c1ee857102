"""Fills a fresh demo database: a company, its Official Account connected to the sandbox, about twenty merchants, and
orders that notify them by WeChat when they are confirmed.

setup/demo runs it inside `odoo shell`, which provides `env`. No merchant is bound here: the codes of those to be bound
go to the file WECHAT_DEMO_SCANS, and setup/demo lets the sandbox's phones scan them over HTTP once Odoo answers.

Environment: WECHAT_DEMO_URL (of Odoo), WECHAT_SANDBOX_URL, WECHAT_DEMO_SCANS.
"""

import json
import os
from datetime import date, timedelta
from pathlib import Path

import requests

from odoo import Command

COMPANY = {
    "name": "杭州茗山供应链管理有限公司",
    "street": "西湖区文三路 478 号",
    "city": "杭州市",
    "zip": "310012",
    "phone": "+86 571 8102 6688",
    "email": "service@mingshan.example.com",
}
COLLEAGUE_LOGIN = "xiaowang"
COLLEAGUE_PASSWORD = "xiaowang"  # nosec B105  # the README tells it
PORTAL_PASSWORD = "merchant"  # nosec B105  # the README tells it

# What becomes of a merchant: bound and unfollowed ones scan a code, unfollowed ones then leave the account again,
# "code" ones have an unscanned code, disabled ones are archived.
BOUND, UNFOLLOWED, CODE, UNBOUND, DISABLED = "bound", "unfollowed", "code", "unbound", "disabled"

# name, city, street, phone, mail box, fate, scanner
MERCHANTS = [
    ("杭州西湖茶庄", "杭州市", "西湖区龙井路 88 号", "138 5710 2368", "xihu-tea", BOUND, "西湖茶庄-陈老板"),
    ("苏州锦绣丝绸行", "苏州市", "姑苏区平江路 126 号", "139 6251 7704", "jinxiu", BOUND, "锦绣丝绸 沈姐"),
    ("上海豫园食品批发部", "上海市", "黄浦区方浜中路 265 号", "136 0172 5539", "yuyuan-food", BOUND, "豫园食品-老周"),
    ("景德镇青花瓷艺坊", "景德镇市", "珠山区中华北路 39 号", "158 7980 4412", "qinghua", BOUND, "青花瓷艺坊小吴"),
    ("成都锦里火锅食材", "成都市", "武侯区武侯祠大街 231 号", "177 8101 6925", "jinli", BOUND, "锦里食材-罗哥"),
    ("宁波东海水产有限公司", "宁波市", "海曙区药行街 52 号", "135 8670 3318", "donghai", BOUND, "东海水产 方总"),
    ("广州荔湾干果商行", "广州市", "荔湾区一德路 310 号", "137 1098 6647", "liwan", BOUND, "荔湾干果阿强"),
    ("北京前门糕点铺", "北京市", "东城区前门大街 71 号", "186 1024 9053", "qianmen", BOUND, "前门糕点-赵师傅"),
    ("绍兴咸亨酒业", "绍兴市", "越城区鲁迅中路 179 号", "134 5675 8821", "xianheng", UNFOLLOWED, "咸亨酒业 孔先生"),
    ("福州三坊茉莉花茶", "福州市", "鼓楼区南后街 63 号", "159 0591 2746", "sanfang", UNFOLLOWED, "茉莉花茶-林小姐"),
    ("黄山毛峰茶叶合作社", "黄山市", "徽州区富溪乡 15 号", "152 5592 6083", "maofeng", CODE, None),
    ("武汉户部巷小吃店", "武汉市", "武昌区自由路 44 号", "150 7131 9465", "hubuxiang", CODE, None),
    ("厦门鼓浪屿馅饼店", "厦门市", "思明区龙头路 95 号", "180 5927 3316", "gulangyu", UNBOUND, None),
    ("西安回民街干货铺", "西安市", "莲湖区北院门 118 号", "133 1925 7042", "huiminjie", UNBOUND, None),
    ("长沙坡子街湘菜馆", "长沙市", "天心区坡子街 216 号", "151 7311 8894", "pozijie", UNBOUND, None),
    ("青岛栈桥啤酒经销部", "青岛市", "市南区太平路 31 号", "188 6398 5527", "zhanqiao", UNBOUND, None),
    ("南京夫子庙文具店", "南京市", "秦淮区贡院街 57 号", "138 5186 4039", "fuzimiao", UNBOUND, None),
    ("昆明翠湖鲜花批发", "昆明市", "五华区翠湖南路 22 号", "136 0871 9950", "cuihu", UNBOUND, None),
    ("天津古文化街杨柳青画社", "天津市", "南开区宫北大街 84 号", "139 2062 7713", "yangliuqing", DISABLED, None),
    ("义乌小商品城饰品店", "义乌市", "稠州北路 699 号", "157 5794 3208", "yiwu", DISABLED, None),
]
# merchant, contact, what he does
CONTACTS = [
    ("杭州西湖茶庄", "陈国强", "店主"),
    ("杭州西湖茶庄", "徐丽", "会计"),
    ("杭州西湖茶庄", "马师傅", "仓库"),
    ("宁波东海水产有限公司", "方志远", "店主"),
    ("宁波东海水产有限公司", "俞敏", "会计"),
    ("厦门鼓浪屿馅饼店", "黄阿梅", "店主"),
    ("南京夫子庙文具店", "孙建华", "仓库"),
]
# Merchants with codes from a bulk generation.
BATCH_MERCHANTS = ["长沙坡子街湘菜馆", "青岛栈桥啤酒经销部", "南京夫子庙文具店"]
# number in WeChat's library, its title, the documents it is about, and what fills its words
TEMPLATES = [
    (
        "43216",
        "新订单通知",
        "sale.order",
        {
            "订单号": "{{ object.name }}",
            "金额": "{{ object.amount_total }}",
            "商家": "{{ object.partner_id.name }}",
            "下单时间": "{{ object.date_order }}",
            "订单状态": "已确认",
        },
    ),
    (
        "43222",
        "审核结果通知",
        "purchase.order",
        {
            "单据号": "{{ object.name }}",
            "审核结果": "{{ '审核通过' if object.state == 'purchase' else '未通过' }}",
            "金额": "{{ object.amount_total }}",
            "审核时间": "{{ object.date_approve or object.write_date }}",
        },
    ),
    (
        "43219",
        "对账单提醒",
        "res.partner",
        {
            "对账周期": f"{date.today():%Y年%m月}",
            "应付金额": "{{ sum(object.sale_order_ids.mapped('amount_total')) }}",
            "截止日期": f"{date.today() + timedelta(days=10):%Y年%m月%d日}",
            "状态": "待确认",
        },
    ),
]
# product, unit price
PRODUCTS = [("明前龙井 250 克礼盒", 368), ("真丝方巾", 219), ("青花瓷茶具六件套", 458), ("冰鲜带鱼 5 公斤", 265)]
# Quotations and requests for quotation, to be confirmed by the user of the demo: merchant, product, quantity
QUOTATIONS = [
    ("杭州西湖茶庄", 2, 3),
    ("宁波东海水产有限公司", 0, 20),
    ("广州荔湾干果商行", 0, 12),
    ("厦门鼓浪屿馅饼店", 1, 2),
]
PURCHASES = [("苏州锦绣丝绸行", 1, 100), ("景德镇青花瓷艺坊", 2, 40), ("宁波东海水产有限公司", 3, 60)]
PORTAL_MERCHANTS = ["杭州西湖茶庄", "苏州锦绣丝绸行", "宁波东海水产有限公司", "厦门鼓浪屿馅饼店"]


def set_up_company(env, url):
    """Make the company and the admin Chinese, and Odoo's own address the demo's."""
    env.company.write({**COMPANY, "country_id": env.ref("base.cn").id})
    env.company.partner_id.tz = "Asia/Shanghai"
    admin = env.ref("base.user_admin")
    admin.write({"name": "周敏", "email": "zhoumin@mingshan.example.com", "lang": "zh_CN", "tz": "Asia/Shanghai"})
    parameters = env["ir.config_parameter"]
    parameters.set_param("web.base.url", url)
    parameters.set_param("web.base.url.freeze", "True")
    parameters.set_param("wechat_merchant_bind.allow_insecure_api", "True")
    return admin


def create_colleague(env):
    """Create an internal user with the right to generate codes but no manager's rights."""
    return (
        env["res.users"]
        .with_context(no_reset_password=True)
        .create(
            {
                "name": "王小云",
                "login": COLLEAGUE_LOGIN,
                "password": COLLEAGUE_PASSWORD,
                "email": "wangxiaoyun@mingshan.example.com",
                "lang": "zh_CN",
                "tz": "Asia/Shanghai",
                "group_ids": [
                    Command.link(env.ref(group).id)
                    for group in (
                        "base.group_user",
                        "base.group_partner_manager",
                        "wechat_merchant_bind.group_user",
                    )
                ],
            }
        )
    )


def connect_account(env, sandbox_url):
    """Create the Official Account and enter its webhook into the sandbox, as one does in WeChat's console.

    :raise requests.RequestException: the sandbox does not answer or refuses
    """
    with requests.Session() as session:
        platform = session.get(f"{sandbox_url}/sandbox/state", timeout=30)
        platform.raise_for_status()
        known = platform.json()["accounts"][0]
        account = env["wechat.account"].create(
            {
                "name": known["name"],
                "company_id": env.company.id,
                "app_id": known["app_id"],
                "app_secret": known["secret"],
                "original_id": known["original_id"],
                "encryption_mode": "safe",
                "api_base_url": sandbox_url,
            }
        )
        settings = {
            "app_id": account.app_id,
            "token": account.webhook_token,
            "encoding_aes_key": account.encoding_aes_key,
            "mode": account.encryption_mode,
            "webhook_url": account.webhook_url,
        }
        session.post(f"{sandbox_url}/sandbox/accounts", json=settings, timeout=30).raise_for_status()
    return account


def create_templates(env, account):
    """Read the account's templates from WeChat, add what is missing from its library, and say what fills them.

    :return: the templates by the model of their documents
    """
    account._sync_templates()
    templates = {}
    for number, title, model, values in TEMPLATES:
        domain = [("account_id", "=", account.id), ("title", "=", title)]
        if not env["wechat.template"].search(domain):
            env["wechat.template.add"].create(
                {"account_id": account.id, "template_id_short": number, "words": "\n".join(values)}
            ).action_add()
        template = env["wechat.template"].search(domain)
        # The document as the merchant sees it in the portal.
        url = "{{ object.get_portal_url() }}" if "access_url" in env[model] else "/my"
        template.write({"model_id": env["ir.model"]._get_id(model), "url": url})
        for line in template.line_ids:
            line.value = values[line.label]
        templates[model] = template
    return templates


def create_notice_rules(env, templates):
    """Create the rules that notify merchants by WeChat, as an administrator clicks them together."""
    for name, model, states in (
        ("新订单微信通知", "sale.order", ["sale"]),
        ("采购审核结果微信通知", "purchase.order", ["purchase", "cancel"]),
    ):
        model_id = env["ir.model"]._get_id(model)
        env["base.automation"].create(
            {
                "name": name,
                "model_id": model_id,
                "trigger": "on_create_or_write",
                "trigger_field_ids": [Command.link(env["ir.model.fields"]._get(model, "state").id)],
                "filter_pre_domain": repr([("state", "not in", states)]),
                "filter_domain": repr([("state", "in", states)]),
                "action_server_ids": [
                    Command.create(
                        {
                            "name": f"发送微信通知：{templates[model].name}",
                            "model_id": model_id,
                            "usage": "base_automation",
                            "state": "wechat",
                            "wechat_template_id": templates[model].id,
                        }
                    )
                ],
            }
        )


def create_orders(env, merchants):
    """Create quotations and requests for quotation that wait to be confirmed."""
    products = env["product.product"].create(
        [{"name": name, "type": "consu", "list_price": price, "standard_price": price} for name, price in PRODUCTS]
    )
    env["sale.order"].create(
        [
            {
                "partner_id": merchants[merchant].id,
                "order_line": [Command.create({"product_id": products[product].id, "product_uom_qty": quantity})],
            }
            for merchant, product, quantity in QUOTATIONS
        ]
    )
    env["purchase.order"].create(
        [
            {
                "partner_id": merchants[merchant].id,
                "order_line": [Command.create({"product_id": products[product].id, "product_qty": quantity})],
            }
            for merchant, product, quantity in PURCHASES
        ]
    )


def create_merchants(env):
    """Create the merchants with their contacts and portal logins; return them by name."""
    china = env.ref("base.cn")
    partners = env["res.partner"].create(
        [
            {
                "name": name,
                "is_company": True,
                "city": city,
                "street": street,
                "country_id": china.id,
                "phone": f"+86 {phone}",
                "email": f"{mailbox}@example.com",
                "lang": "zh_CN",
                "tz": "Asia/Shanghai",
            }
            for name, city, street, phone, mailbox, _fate, _scanner in MERCHANTS
        ]
    )
    merchants = {partner.name: partner for partner in partners}
    env["res.partner"].create(
        [
            {"name": name, "parent_id": merchants[merchant].id, "function": function, "lang": "zh_CN"}
            for merchant, name, function in CONTACTS
        ]
    )
    users = (
        env["res.users"]
        .with_context(no_reset_password=True)
        .create(
            [
                {
                    "partner_id": merchants[name].id,
                    "login": merchants[name].email,
                    "password": PORTAL_PASSWORD,
                    "group_ids": [Command.set(env.ref("base.group_portal").ids)],
                }
                for name in PORTAL_MERCHANTS
            ]
        )
    )
    # The last one was invited and has not come yet.
    for user in users[:-1]:
        user.with_user(user)._update_last_login()
    return merchants


def create_automations(env, admin):
    """Create the two rules of the demo: new merchants are sent their code, and bound ones a welcome.

    They are what an administrator clicks together under 技术 > 自动化规则; nothing in them belongs to the demo alone.
    """
    partner_model = env["ir.model"]._get("res.partner")
    tag = env["res.partner.category"].create({"name": "已绑定微信", "color": 10})
    bound = env.ref("wechat_merchant_bind.field_res_partner__is_wechat_bound")
    # Within the push, so no mail may be sent: the activity stands in the list of its user without one.
    welcome = f"""
for record in records.with_context(mail_activity_quick_update=True):
    responsible = record.user_id.id or {admin.id}
    record.activity_schedule('mail.mail_activity_data_call', summary='欢迎商家', user_id=responsible)
"""
    for name, trigger, actions in (
        (
            "新商家自动发送绑定码",
            {
                "trigger": "on_create",
                "filter_domain": "[('parent_id', '=', False), ('partner_share', '=', True), ('email', '!=', False)]",
            },
            # In the background, so that creating a merchant does not wait.
            [{"state": "code", "code": "records._wechat_generate_and_email_bind_codes()"}],
        ),
        (
            "商家绑定微信后欢迎",
            {
                "trigger": "on_create_or_write",
                "trigger_field_ids": [Command.link(bound.id)],
                "filter_pre_domain": "[('is_wechat_bound', '=', False)]",
                "filter_domain": "[('is_wechat_bound', '=', True)]",
            },
            [
                {
                    "state": "object_write",
                    "update_path": "category_id",
                    "update_m2m_operation": "add",
                    "resource_ref": f"res.partner.category,{tag.id}",
                },
                {"state": "code", "code": welcome},
            ],
        ),
    ):
        env["base.automation"].create(
            {
                "name": name,
                "model_id": partner_model.id,
                **trigger,
                "action_server_ids": [
                    Command.create({"name": name, "model_id": partner_model.id, "usage": "base_automation", **action})
                    for action in actions
                ],
            }
        )


def plan_scans(env, merchants, admins):
    """Generate the codes, in turn by each of `admins`, and disable the disabled merchants; return the phones' scans.

    :return: {"scans": [{"user", "content"}], "unfollow": [user]}
    """
    plan = {"scans": [], "unfollow": []}
    for index, (name, *_address, fate, scanner) in enumerate(MERCHANTS):
        if fate == DISABLED:
            merchants[name].active = False
        if fate not in (BOUND, UNFOLLOWED, CODE):
            continue
        admin_env = env(user=admins[index % len(admins)], su=False, context={"lang": "zh_CN", "tz": "Asia/Shanghai"})
        code = merchants[name].with_env(admin_env)._wechat_get_bind_code()
        if scanner:
            plan["scans"].append({"user": scanner, "content": code.qr_content})
        if fate == UNFOLLOWED:
            plan["unfollow"].append(scanner)
    batch_merchants = env["res.partner"].union(*(merchants[name] for name in BATCH_MERCHANTS))
    batch_merchants.with_env(admin_env).action_wechat_bind_code()
    return plan


def main(env):
    """Fill the database, and write the file of scans."""
    admin = set_up_company(env, os.environ["WECHAT_DEMO_URL"])
    colleague = create_colleague(env)
    account = connect_account(env, os.environ["WECHAT_SANDBOX_URL"])
    merchants = create_merchants(env)
    # The access token is stored by a cursor of its own, which must find the account.
    env.cr.commit()
    plan = plan_scans(env, merchants, [admin.id, colleague.id])
    create_automations(env, admin)
    admin_env = env(user=admin.id, context={"lang": "zh_CN", "tz": "Asia/Shanghai"})
    create_notice_rules(env, create_templates(env, account))
    create_orders(admin_env, merchants)
    env.cr.commit()
    Path(os.environ["WECHAT_DEMO_SCANS"]).write_text(json.dumps(plan, ensure_ascii=False, indent=1), encoding="utf-8")


main(env)  # noqa: F821  # the shell's
