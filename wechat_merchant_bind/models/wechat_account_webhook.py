from typing import NamedTuple

from odoo import api, models
from odoo.tools import ormcache


class Webhook(NamedTuple):
    """What is to be known of an account before its pushes are in the inbox. The one of no account is false."""

    id: int | None = None
    company_id: int | None = None
    app_id: str = ""
    original_id: str | None = None
    webhook_token: str | None = None
    encoding_aes_key: str | None = None
    previous_encoding_aes_key: str | None = None
    encryption_mode: str = "safe"
    clock_tolerance: int = 0
    transfer_customer_service: bool = False

    def __bool__(self):
        return self.id is not None

    def __repr__(self):
        # the generated one would put the secrets into logs
        return f"Webhook(<{self.id}>)"


class WechatAccount(models.Model):
    """The accounts as their pushes find them: each process remembers what it has read until an account changes.

    Odoo's cache of records lasts as long as a request, and reading them costs a push as much as storing it.
    """

    _inherit = "wechat.account"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        accounts = super().create(vals_list)
        self._forget_webhooks()
        return accounts

    def write(self, vals):
        res = super().write(vals)
        if not vals.keys().isdisjoint({"active", "account_kind", "webhook_key", *Webhook._fields}):
            self._forget_webhooks()
        return res

    def unlink(self):
        res = super().unlink()
        self._forget_webhooks()
        return res

    # === BUSINESS METHODS === #

    @api.model
    def _find_webhook(self, webhook_key):
        """Return what is to be known of the active account behind a webhook address.

        :param str webhook_key: the secret part of the address.
        :rtype: Webhook
        """
        return self._get_webhooks().get(webhook_key, Webhook())

    @api.model
    @ormcache()
    def _get_webhooks(self):
        """Return what is to be known of the active accounts, by the secret part of their address.

        All at once: remembering what somebody has guessed would push what is needed out of the memory.

        :rtype: dict[str, Webhook]
        """
        # sudo: wechat.account - the key is the secret that grants the access
        # pylint: disable-next=no-search-all  # a database has a handful of accounts
        accounts_sudo = self.sudo().with_context(active_test=True).search([])
        return {account.webhook_key: account._get_webhook() for account in accounts_sudo}

    @api.model
    def _forget_webhooks(self):
        """Let every process read the accounts anew, now and once more after the commit: until then another thread may
        have read, and remembered, what has been.
        """
        self.env.registry.clear_cache()
        self.env.cr.postcommit.add(self.env.registry.clear_cache)

    def _get_webhook(self):
        """Return what is to be known of the account by those who store its pushes.

        :rtype: Webhook
        """
        self.ensure_one()
        values = {name: self[name] for name in Webhook._fields if name != "company_id"}
        return Webhook(**values, company_id=self.company_id.id or None)
