from odoo import fields, models
from odoo.exceptions import UserError
from odoo.tools import SQL

from ..models.const import OPENID


class PrivacyLookupWizard(models.TransientModel):
    """Finds the OpenID of a person everywhere it is kept, so that it can be erased there.

    The operations log isn't among that: it keeps the two ends of an OpenID, which lead to nobody, and the merchant's
    name, so that it can be shown later who had access to whose data and that it was erased.
    """

    _inherit = "privacy.lookup.wizard"

    # By OpenID, which stands for the name, it takes no address.
    email = fields.Char(required=False)

    # === BUSINESS METHODS === #

    def _get_query_models_blacklist(self):
        return [*super()._get_query_models_blacklist(), "wechat.operation", *self._get_wechat_models()]

    def _get_wechat_models(self):
        """Return the models of this addon, and of addons that build on it, that keep a person's OpenID or name."""
        return [
            "wechat.binding.import.line",
            *(
                name
                for name, model in self.env.items()
                if name.startswith("wechat.")
                and model._auto
                and not model._transient
                and "openid" in model._fields
                and model._fields["openid"].store
            ),
        ]

    def _get_query(self):
        if self.email:
            return SQL("%s %s", super()._get_query(), self._get_wechat_query())
        if not OPENID.fullmatch(self.name.strip()):
            raise UserError(self.env._("Enter the e-mail address as well, or an OpenID instead of the name."))
        return SQL(
            """
            WITH indirect_references AS (SELECT id FROM res_partner WHERE FALSE)
            SELECT NULL::integer AS res_model_id, NULL::integer AS res_id, NULL::boolean AS is_active WHERE FALSE %s
            """,
            self._get_wechat_query(),
        )

    def _get_wechat_query(self):
        """Return what finds the rows of this addon, to be added to Odoo's query."""
        return SQL(" ").join(
            SQL(
                "UNION ALL SELECT %s, id, TRUE FROM %s AS kept WHERE %s",
                self.env["ir.model"]._get_id(name),
                SQL.identifier(self.env[name]._table),
                self._get_wechat_condition(self.env[name]),
            )
            for name in self._get_wechat_models()
        )

    def _get_wechat_condition(self, model):
        """Return what a row must fulfil to be the person's.

        :param models.BaseModel model: one of :meth:`_get_wechat_models`.
        :rtype: SQL
        """
        name = self.name.strip()
        conditions = []
        if "partner_id" in model._fields:
            conditions.append(SQL("kept.partner_id IN (SELECT id FROM indirect_references)"))
        if "merchant" in model._fields:
            conditions.append(SQL("kept.merchant ILIKE %s", name))
        if "openid" in model._fields:
            conditions.append(SQL("kept.openid = %s", name))
        if model._name == "wechat.binding":
            # Of a merchant that is gone, the log still knows the name.
            conditions.append(
                SQL(
                    """
                    kept.partner_id IS NULL AND EXISTS (
                        SELECT FROM wechat_operation AS operation
                         WHERE operation.partner_name ILIKE %s
                           AND operation.account_id = kept.account_id
                           AND operation.openid_masked = left(kept.openid, 4) || '…' || right(kept.openid, 4)
                    )
                    """,
                    name,
                )
            )
        elif "openid" in model._fields:
            # What the person sent, before and after it was bound.
            conditions.append(
                SQL(
                    """
                    EXISTS (
                        SELECT FROM wechat_binding AS binding
                         WHERE binding.account_id = kept.account_id
                           AND binding.openid = kept.openid
                           AND binding.partner_id IN (SELECT id FROM indirect_references)
                    )
                    """
                )
            )
        return SQL(" OR ").join(SQL("(%s)", condition) for condition in conditions)
