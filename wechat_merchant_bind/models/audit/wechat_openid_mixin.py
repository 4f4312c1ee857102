from odoo import models

# Number of merchants that a note of the log names.
NAMES_SHOWN = 10


class WechatOpenidMixin(models.AbstractModel):
    """Records with an OpenID: each reading or export of it is recorded in the operations log.

    The field stays an ordinary one for automations, domains and other addons. An access is recorded where the value
    leaves the server: read(), web_read() and search_read(), exports (also by a path from another model), and grouping.
    Views show the masked OpenID only and record nothing.
    """

    _name = "wechat.openid.mixin"
    _description = "Records that Know an OpenID"

    # The field with the OpenID, then others that reveal it.
    _wechat_openid_fields = ("openid",)

    # === CRUD METHODS === #

    def _read_format(self, fnames, load="_classic_read"):
        result = super()._read_format(fnames, load)
        if not self.env.su and not set(fnames).isdisjoint(self._wechat_openid_fields):
            self._audit_openids("reveal")
        return result

    def _export_rows(self, fields, *, _is_toplevel_call=True):
        rows = super()._export_rows(fields, _is_toplevel_call=_is_toplevel_call)
        if not self.env.su and any(path and path[0] in self._wechat_openid_fields for path in fields):
            self._audit_openids("export")
        return rows

    def _read_group_groupby(self, alias, groupby_spec, query):
        self._audit_aggregate(groupby_spec)
        return super()._read_group_groupby(alias, groupby_spec, query)

    def _read_group_select(self, aggregate_spec, query):
        self._audit_aggregate(aggregate_spec)
        return super()._read_group_select(aggregate_spec, query)

    # === BUSINESS METHODS === #

    def _audit_aggregate(self, spec):
        """Record the reading of all OpenIDs if a specification of _read_group() groups or aggregates them."""
        if not self.env.su and spec.split(":")[0] in self._wechat_openid_fields:
            # sudo: the record itself - only ids are noted; the groups don't tell which of them the user has seen
            self.sudo().search([(self._wechat_openid_fields[0], "!=", False)]).sudo(False)._audit_openids("reveal")

    def _audit_openids(self, operation):
        """Note that the user gets the OpenIDs of these records, for one log entry at the end of the transaction.

        :param str operation: "reveal" or "export".
        """
        # sudo: the record itself - the user has just read it, perhaps without the right to read the related records
        known = self.sudo().filtered(self._wechat_openid_fields[0])
        if not known:
            return
        precommit = self.env.cr.precommit
        if "wechat_openids" not in precommit.data:
            precommit.data["wechat_openids"] = {}
            precommit.add(self.browse()._log_audited_openids)
        precommit.data["wechat_openids"].setdefault((self.env.uid, operation, self._name), set()).update(known.ids)

    def _log_audited_openids(self):
        """Write the noted accesses of the transaction to the operations log."""
        audited = self.env.cr.precommit.data.pop("wechat_openids", {})
        if self.env.cr.readonly:
            # A replica can't be written to, but its reads are recorded too.
            with self.env.registry.cursor() as cr:
                self._log_openids(self.env(cr=cr), audited)
        else:
            self._log_openids(self.env, audited)

    def _log_openids(self, env, audited):
        """Record accesses to OpenIDs in the operations log.

        :param Environment env: a writable environment.
        :param dict audited: ids by user, operation and model.
        """
        for (uid, operation, model), ids in audited.items():
            # sudo: wechat.operation, and the records it names - users have no right to write the log
            operations = env(user=uid, su=True)["wechat.operation"]
            records = operations.env[model].browse(ids).exists()
            operations._log_note(operation, records._get_audit_note(operation), **records._prepare_audit_values())

    def _get_audit_note(self, operation):
        # sudo: ir.model - users may know the name of a model
        model = self.env["ir.model"].sudo()._get(self._name).name
        names = self._get_audited_merchants().mapped("display_name")
        shown = ", ".join(names[:NAMES_SHOWN]) + (" …" if len(names) > NAMES_SHOWN else "")
        if operation == "export":
            return self.env._(
                "%(count)s OpenIDs were exported (%(model)s: %(names)s).", count=len(self), model=model, names=shown
            )
        return self.env._(
            "%(count)s OpenIDs were read in full (%(model)s: %(names)s).", count=len(self), model=model, names=shown
        )

    def _prepare_audit_values(self):
        """Return more values of the log entry: the merchant if it is a single one, the company if all share one."""
        merchant, company = self._get_audited_merchants(), self.company_id
        values = {"company_id": company.id} if len(company) == 1 and all(self.mapped("company_id")) else {}
        if len(merchant) == 1:
            values |= {"partner_id": merchant.id, "partner_name": merchant.display_name}
        if len(self) == 1:
            values["openid_masked"] = self.env["wechat.operation"]._mask_openid(self[self._wechat_openid_fields[0]])
        return values

    def _get_audited_merchants(self):
        if self._name == "res.partner":
            return self
        return self.partner_id if "partner_id" in self else self.env["res.partner"]
