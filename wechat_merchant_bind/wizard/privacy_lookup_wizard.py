from odoo import fields, models
from odoo.exceptions import UserError
from odoo.tools import SQL

from ..models.const import OPENID


class PrivacyLookupWizard(models.TransientModel):
    """Finds all records with a person's OpenID, to erase them.

    The operations log is excluded: it has masked OpenIDs, which identify no person. It keeps the merchant's name as
    the evidence of accesses to personal data and of their erasure.
    """

    _inherit = "privacy.lookup.wizard"

    # Not required for a look-up by OpenID, which is entered as the name.
    email = fields.Char(required=False)

    # === BUSINESS METHODS === #

    def _get_query_models_blacklist(self):
        return [*super()._get_query_models_blacklist(), "wechat.operation", *self._get_wechat_models()]

    def _get_wechat_models(self):
        """Return the models of this addon, and of addons based on it, that store a person's OpenID or name."""
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
        """Return the UNION ALL clauses that add this addon's records to Odoo's query."""
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
        """Return the SQL condition of a person's rows in a model.

        :param models.BaseModel model: one of _get_wechat_models().
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
            # The operations log still has the name of a deleted merchant.
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
            # Messages of the person, before and after the binding.
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
