from odoo import api, fields, models
from odoo.fields import Domain

VACUUM_BATCH = 10000
# Of a message that belongs to no account, because its merchant was not bound.
RETENTION_DAYS = 180
# What waits, and what a person has to decide about, is never deleted.
ENDED = ("sent", "delivered", "failed", "canceled")


class WechatMessage(models.Model):
    """How long messages are kept."""

    _inherit = "wechat.message"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === BUSINESS METHODS === #

    @api.autovacuum
    def _gc_messages(self):
        """Delete the messages whose retention is over.

        :return: the number of deleted messages, and whether more remain.
        :rtype: tuple[int, bool]
        """
        done, remaining = 0, False
        # pylint: disable-next=no-search-all  # an installation has a handful of accounts
        accounts = self.env["wechat.account"].with_context(active_test=False).search([])
        for account_id, days in [(False, RETENTION_DAYS), *((a.id, a.message_retention_days) for a in accounts)]:
            before = fields.Datetime.subtract(fields.Datetime.now(), days=days)
            messages = self.search(
                Domain("account_id", "=", account_id)
                & Domain("state", "in", ENDED)
                & Domain("create_date", "<", before),
                limit=VACUUM_BATCH,
                order="id",
            )
            messages.unlink()
            done += len(messages)
            remaining |= len(messages) == VACUUM_BATCH
        return done, remaining
