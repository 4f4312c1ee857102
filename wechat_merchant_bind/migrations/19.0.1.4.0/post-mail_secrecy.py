"""Remove binding codes and undo links from texts that earlier versions stored where every employee can read them."""

from psycopg2.extras import Json

from odoo import SUPERUSER_ID, api
from odoo.tools import SQL

from odoo.addons.wechat_merchant_bind.tools import bearer_links

PATTERNS = ["%/wechat/bind/%", "%/wechat/undo/%", "%weixin.qq.com/q/%", "%/showqrcode%"]
# The English and Chinese file names of the pictures.
PICTURES = ["% - WeChat binding code.png", "%-微信绑定码.png"]
PICTURE_MODELS = ("res.partner", "mail.compose.message", "mail.message", "mail.scheduled.message", "mail.template")
# Terms of a migration are not exported for translation.
REMOVED_EN = (
    "The message “%s” was to be sent later with the link of a WeChat binding code. It was removed: colleagues "
    "without the right to the code could read the link. Send the code again."
)
REMOVED_ZH = "定时消息“%s”含有微信绑定码的链接，无权查看绑定码的同事也能读到，因此已被移除。请重新发送绑定码。"
BATCH = 1000


def migrate(cr, version):
    """Hide the secrets with one query per table. The chatter still tells that a code was mailed."""
    env = api.Environment(cr, SUPERUSER_ID, {})
    message_ids = hide_in_column(env, "mail_message", "body")
    # E-mails that may still be sent keep the link; only administrators can read them.
    hide_in_column(env, "mail_mail", "body_html", SQL("state NOT IN ('outgoing', 'exception')"))
    hide_in_templates(env)
    remove_scheduled_messages(env)
    cr.execute("DELETE FROM mail_message_translation WHERE message_id = ANY(%s)", [message_ids])
    cr.execute("DELETE FROM mail_link_preview WHERE source_url LIKE ANY(%s)", [PATTERNS[:2]])
    remove_pictures(env)
    env.invalidate_all()


def hide_in_column(env, table, column, condition=None):
    """Hide the secrets in the rows of a column.

    :param SQL condition: limits the rows.
    :return: the ids of the changed rows.
    :rtype: list[int]
    """
    query = SQL(
        "SELECT id, %(column)s FROM %(table)s WHERE %(column)s LIKE ANY(%(patterns)s) AND %(condition)s",
        column=SQL.identifier(column),
        table=SQL.identifier(table),
        patterns=PATTERNS,
        condition=condition or SQL("TRUE"),
    )
    rows = env.execute_query(query)
    changed_ids = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        secrets = env["mail.message"]._wechat_find_secrets([text for _id, text in batch])
        hidden = [(row_id, bearer_links.hide(text, secrets)) for row_id, text in batch]
        changed = [pair for pair, (_id, text) in zip(hidden, batch, strict=True) if pair[1] != text]
        if not changed:
            continue
        ids, texts = map(list, zip(*changed, strict=True))
        env.cr.execute(
            SQL(
                """
                UPDATE %(table)s
                   SET %(column)s = hidden.text
                  FROM unnest(%(ids)s::int[], %(texts)s::text[]) AS hidden(id, text)
                 WHERE %(table)s.id = hidden.id
                """,
                table=SQL.identifier(table),
                column=SQL.identifier(column),
                ids=ids,
                texts=texts,
            )
        )
        changed_ids += ids
    return changed_ids


def hide_in_templates(env):
    """Hide the secrets in mail templates that users saved from an e-mail with a code."""
    rows = env.execute_query(
        SQL("SELECT id, body_html FROM mail_template WHERE body_html::text LIKE ANY(%s)", PATTERNS)
    )
    secrets = env["mail.message"]._wechat_find_secrets([text for _id, texts in rows for text in texts.values()])
    for template_id, texts in rows:
        hidden = {lang: bearer_links.hide(text, secrets) for lang, text in texts.items()}
        if hidden != texts:
            env.cr.execute("UPDATE mail_template SET body_html = %s WHERE id = %s", [Json(hidden), template_id])


def remove_scheduled_messages(env):
    """Remove scheduled messages with a code, and leave a note on their documents."""
    messages = env["mail.scheduled.message"].search(["|", ("body", "like", "/wechat/"), ("body", "like", "weixin.qq")])
    for message in messages:
        if not env["mail.message"]._wechat_find_secrets([message.body]):
            continue
        note = REMOVED_ZH if (message.create_uid.lang or "").startswith("zh") else REMOVED_EN
        env[message.model].browse(message.res_id)._message_log(
            body=note % (message.subject or ""), author_id=env.ref("base.partner_root").id
        )
        message.unlink()


def remove_pictures(env):
    """Remove pictures of codes attached to merchants, messages, drafts and templates."""
    rows = env.execute_query(
        SQL(
            """
            SELECT id
              FROM ir_attachment
             WHERE res_model IN %s AND res_field IS NULL AND mimetype = 'image/png' AND name LIKE ANY(%s)
            """,
            PICTURE_MODELS,
            PICTURES,
        )
    )
    env["ir.attachment"].browse([attachment_id for (attachment_id,) in rows]).unlink()
