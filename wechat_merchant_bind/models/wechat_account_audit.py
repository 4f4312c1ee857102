from odoo import api, models

from .wechat_account import SECRET_FIELDS

# What is changed all the time and means nothing, and what a check of the connection has found.
UNAUDITED_FIELDS = frozenset({"sequence", "last_check_at", "last_check_error"})
VALUE_SHOWN = 60


class WechatAccount(models.Model):
    """Who changed which setting of an account, from what to what. The value of a secret is told to nobody."""

    _inherit = "wechat.account"

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        accounts = super().create(vals_list)
        notes = {
            account.id: self.env._(
                "Official Account %(account)s (App ID %(app_id)s) added.", account=account.name, app_id=account.app_id
            )
            for account in accounts
        }
        self.env["wechat.operation"]._log("settings", accounts, notes)
        return accounts

    def write(self, vals):
        names = [name for name in vals if name in self._fields and name not in UNAUDITED_FIELDS]
        before = {account.id: account._get_settings(names) for account in self}
        result = super().write(vals)
        notes = {}
        for account in self:
            if lines := account._get_changed_settings(before[account.id]):
                notes[account.id] = "\n".join([self.env._("Settings of %s changed:", account.name), *lines])
        self.env["wechat.operation"]._log("settings", self.browse(notes), notes)
        return result

    def _update_field_translations(self, field_name, translations, digest=None, source_lang=""):
        result = super()._update_field_translations(field_name, translations, digest=digest, source_lang=source_lang)
        label = self.fields_get([field_name], ["string"])[field_name]["string"]
        notes = {
            account.id: self.env._(
                "Translations of %(setting)s of %(account)s changed.", setting=label, account=account.name
            )
            for account in self
        }
        self.env["wechat.operation"]._log("settings", self, notes)
        return result

    @api.ondelete(at_uninstall=False)
    def _unlink_log(self):
        notes = {account.id: self.env._("Official Account %s deleted.", account.name) for account in self}
        self.env["wechat.operation"]._log("settings", self, notes)

    # === BUSINESS METHODS === #

    def _get_settings(self, names):
        """Return the values of settings as people read them; of a secret as it is, to compare.

        :param list[str] names: fields.
        :rtype: dict[str, str]
        """
        self.ensure_one()
        # sudo: wechat.account - the log tells what changed, not what the secrets are
        account_sudo = self.sudo()
        words = {True: self.env._("yes"), False: self.env._("no")}
        return {
            name: words[account_sudo[name]]
            if self._fields[name].type == "boolean"
            else self._fields[name].convert_to_export(account_sudo[name], account_sudo)
            for name in names
        }

    def _get_changed_settings(self, before):
        """Return a line for each setting that has changed.

        :param dict before: what :meth:`_get_settings` returned.
        :rtype: list[str]
        """
        after = self._get_settings(list(before))
        # sudo: see _get_settings
        labels = self.sudo().fields_get(list(before), ["string"])
        lines = []
        for name in before:
            if before[name] == after[name]:
                continue
            values = {"setting": labels[name]["string"]}
            if name in SECRET_FIELDS:
                lines.append(self.env._("%(setting)s: changed", **values))
            else:
                values |= {"old": self._shorten(before[name]), "new": self._shorten(after[name])}
                lines.append(self.env._("%(setting)s: %(old)s → %(new)s", **values))
        return lines

    @api.model
    def _shorten(self, value):
        text = self.env._("empty") if value in (False, None, "") else str(value)
        return text if len(text) <= VALUE_SHOWN else f"{text[:VALUE_SHOWN]}…"
