from datetime import timedelta

from odoo import Command, api, fields, models
from odoo.tools import SQL

DIGEST_HOURS = 24


class WechatAccount(models.Model):
    """A daily e-mail to the managers of an account: which messages failed, and why. Off by default."""

    _inherit = "wechat.account"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === FIELDS === #

    failure_digest = fields.Boolean(
        "Daily E-mail about Failures",
        help="To the managers, on days on which messages failed or their result is unknown.",
    )
    failure_digest_at = fields.Datetime("Last E-mail about Failures", readonly=True, copy=False)

    # === BUSINESS METHODS === #

    @api.model
    def _cron_send_failure_digests(self):
        """Queue the e-mails about what failed since the ones before."""
        for account in self.search([("failure_digest", "=", True)]):
            account._send_failure_digest()
            self.env["ir.cron"]._commit_progress(1)

    def _send_failure_digest(self):
        """Queue an e-mail to each manager of the account in its own language, if there is anything to tell."""
        self.ensure_one()
        since = self._get_digest_since()
        template = self.env.ref("wechat_merchant_bind.mail_template_failure_digest", raise_if_not_found=False)
        if template and self._get_failure_counts(since):
            for manager in self._get_managers().filtered("partner_id.email"):
                lang = self._get_lang(manager.lang)
                template.with_context(lang=lang, wechat_digest_since=since).send_mail(
                    self.id, email_values={"recipient_ids": [Command.link(manager.partner_id.id)]}
                )
        # Not by the ORM, which would record it as a change of settings.
        self.env.cr.execute(
            "UPDATE wechat_account SET failure_digest_at = %s WHERE id = %s", [self.env.cr.now(), self.id]
        )
        self.invalidate_recordset(["failure_digest_at"], flush=False)

    def _get_digest_since(self):
        before = self.env.cr.now() - timedelta(hours=DIGEST_HOURS)
        return max(self.failure_digest_at or before, before - timedelta(days=6))

    def _get_failure_counts(self, since=None):
        """Return what failed or is unknown, the most frequent reason first. The template of the e-mail shows it.

        :param datetime since: by default when the last e-mail was made. Until then it told of everything.
        :return: reason, in words, and number of messages.
        :rtype: list[tuple[str, int]]
        """
        self.ensure_one()
        messages = self.env["wechat.message"]
        since = since or self.env.context.get("wechat_digest_since") or self._get_digest_since()
        labels = dict(messages._fields["failure_type"]._description_selection(self.env))
        messages.flush_model(["account_id", "state", "failure_type", "write_date"])
        # A domain knows whole seconds only: what fails in the second of an e-mail would be told twice.
        groups = self.env.execute_query(
            SQL(
                """
                SELECT failure_type, count(*)
                  FROM wechat_message
                 WHERE account_id = %(account_id)s
                   AND state IN ('failed', 'unknown')
                   AND write_date > %(since)s
                   AND write_date <= %(until)s
              GROUP BY failure_type
              ORDER BY count(*) DESC
                """,
                account_id=self.id,
                since=since,
                until=self.env.cr.now(),
            )
        )
        return [(labels.get(failure_type) or self.env._("Another reason"), count) for failure_type, count in groups]
