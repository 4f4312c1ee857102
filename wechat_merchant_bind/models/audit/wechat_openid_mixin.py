from odoo import models

# Merchants that a note of the log names.
NAMES_SHOWN = 10


class WechatOpenidMixin(models.AbstractModel):
    """Records that know an OpenID: whoever reads or exports it leaves a trace in the operations log.

    The field stays an ordinary one, which automations, domains and other addons use as they are used to. What is
    recorded is that its value leaves the server: by ``read``, ``web_read`` and ``search_read``, by an export, also one
    that comes here from another model, and by grouping. Odoo's own views show the two ends only.
    """

    _name = "wechat.openid.mixin"
    _description = "Records that Know an OpenID"

    # The field that is the OpenID, and others that tell it.
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
        if not self.env.su and spec.split(":")[0] in self._wechat_openid_fields:
            # sudo: only ids are noted; which of them the user has seen is not known
            self.sudo().search([(self._wechat_openid_fields[0], "!=", False)]).sudo(False)._audit_openids("reveal")

    def _audit_openids(self, operation):
        """Note that the user gets the OpenIDs of these records. One entry of the log tells all of a transaction.

        :param str operation: ``reveal`` or ``export``.
        """
        # sudo: the user has just read them, perhaps without the right to read what else is asked here
        known = self.sudo().filtered(self._wechat_openid_fields[0])
        if not known:
            return
        precommit = self.env.cr.precommit
        if "wechat_openids" not in precommit.data:
            precommit.data["wechat_openids"] = {}
            precommit.add(self.browse()._log_audited_openids)
        precommit.data["wechat_openids"].setdefault((self.env.uid, operation, self._name), set()).update(known.ids)

    def _log_audited_openids(self):
        audited = self.env.cr.precommit.data.pop("wechat_openids", {})
        if self.env.cr.readonly:
            # What a replica answers is recorded all the same.
            with self.env.registry.cursor() as cr:
                self._log_openids(self.env(cr=cr), audited)
        else:
            self._log_openids(self.env, audited)

    def _log_openids(self, env, audited):
        """Record who got which OpenIDs.

        :param Environment env: where to write.
        :param dict audited: ids by user, operation and model.
        """
        for (uid, operation, model), ids in audited.items():
            # sudo: wechat.operation and what it tells of - nobody writes the log directly
            operations = env(user=uid, su=True)["wechat.operation"]
            records = operations.env[model].browse(ids).exists()
            operations._log_note(operation, records._get_audit_note(operation), **records._prepare_audit_values())

    def _get_audit_note(self, operation):
        # sudo: ir.model - the name of a model is no secret
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
        """Return what else the log can tell: the merchant, if it is one, and the company, if all are of one."""
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
