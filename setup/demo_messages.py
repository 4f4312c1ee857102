"""Lets the demo's company have sold before: confirmed orders, and their merchants notified by WeChat.

setup/demo runs it inside `odoo shell`, which provides `env`, once the merchants have scanned their codes and Odoo runs:
its cron sends the messages through the sandbox.
"""

import time

from odoo import Command

# merchant, which product of the demo, quantity. The last ones can't be reached: one has unfollowed, one is not bound.
ORDERS = [
    ("杭州西湖茶庄", 2, 2),
    ("上海豫园食品批发部", 0, 10),
    ("苏州锦绣丝绸行", 0, 5),
    ("北京前门糕点铺", 0, 8),
    ("成都锦里火锅食材", 3, 30),
    ("杭州西湖茶庄", 2, 6),
    ("绍兴咸亨酒业", 2, 1),
    ("西安回民街干货铺", 1, 4),
]
SENT_SECONDS = 120
OPEN_STATES = ("outgoing", "sending", "sent")


def main(env):
    """Confirm the orders as the admin does, and wait until what became of their messages is known.

    :raise TimeoutError: it is not
    """
    admin = env.ref("base.user_admin")
    env = env(user=admin.id, context={"lang": "zh_CN", "tz": "Asia/Shanghai"})
    products = env["product.product"].search([("type", "=", "consu")], order="id")
    for name, product, quantity in ORDERS:
        merchant = env["res.partner"].search([("name", "=", name)])
        lines = [Command.create({"product_id": products[product].id, "product_uom_qty": quantity})]
        env["sale.order"].create({"partner_id": merchant.id, "order_line": lines}).action_confirm()
    env.cr.commit()
    deadline = time.monotonic() + SENT_SECONDS
    while env["wechat.message"].search_count([("state", "in", OPEN_STATES)]):
        if time.monotonic() > deadline:
            raise TimeoutError("the messages of the demo were not delivered")
        time.sleep(0.5)
        env.cr.rollback()


main(env)  # noqa: F821  # the shell's
