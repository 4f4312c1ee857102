from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError
from odoo.fields import Domain
from odoo.tools import SQL
from odoo.tools.sql import column_exists

# What follows from the codes and bindings alone: whoever could write it would forge a binding.
BINDING_FIELDS = frozenset(
    {
        "wechat_openid",
        "is_wechat_bound",
        "wechat_state",
        "wechat_bound_at",
        "wechat_binding_ids",
        "wechat_bind_code_ids",
        "wechat_request_ids",
    }
)
GROUP_USER = "wechat_merchant_bind.group_user"
GROUP_MANAGER = "wechat_merchant_bind.group_manager"


class ResPartner(models.Model):
    """A merchant, or one of its contacts: its live WeChat binding, and how it gets a binding code."""

    _inherit = "res.partner"

    # === FIELDS === #

    wechat_binding_ids = fields.One2many("wechat.binding", "partner_id", "WeChat Bindings", groups=GROUP_USER)
    wechat_bind_code_ids = fields.One2many("wechat.bind.code", "partner_id", "WeChat Binding Codes", groups=GROUP_USER)
    wechat_openid = fields.Char(
        "WeChat OpenID", compute="_compute_wechat_binding", store=True, copy=False, groups=GROUP_MANAGER
    )
    wechat_openid_masked = fields.Char(
        "WeChat OpenID (masked)", compute="_compute_wechat_openid_masked", compute_sudo=True, groups=GROUP_USER
    )
    is_wechat_bound = fields.Boolean(
        "Bound to WeChat", compute="_compute_wechat_binding", store=True, copy=False, groups="base.group_user"
    )
    wechat_state = fields.Selection(
        [("unbound", "Not bound"), ("bound", "Bound"), ("unfollowed", "Unfollowed")],
        "WeChat",
        compute="_compute_wechat_binding",
        store=True,
        copy=False,
        groups="base.group_user",
    )
    wechat_bound_at = fields.Datetime(
        "Bound to WeChat on", compute="_compute_wechat_binding", store=True, copy=False, groups="base.group_user"
    )

    # === INDEXES === #

    # Odoo asks for "IS NOT TRUE", and for partners in the order of the list: only an index with this very predicate
    # answers the first page of the unbound ones among a million. The columns that the lists and the company rule filter
    # by are in it for the sake of the page's count, which is read from the index alone.
    _wechat_unbound_idx = models.Index(
        "(complete_name, id DESC) INCLUDE (active, company_id, parent_id, partner_share)"
        " WHERE is_wechat_bound IS NOT TRUE"
    )
    _wechat_bound_idx = models.Index(
        "(complete_name, id DESC) INCLUDE (active, company_id, parent_id, partner_share, wechat_state)"
        " WHERE is_wechat_bound IS TRUE"
    )
    _wechat_unfollowed_idx = models.Index(
        "(complete_name, id DESC) INCLUDE (active, company_id, parent_id, partner_share, is_wechat_bound)"
        " WHERE wechat_state = 'unfollowed'"
    )
    # Answers "bound in the last days" for few as for many; the key of the former indexes is of no use to it.
    _wechat_bound_at_idx = models.Index(
        "(wechat_bound_at) INCLUDE (id, active, company_id, parent_id, partner_share) WHERE wechat_bound_at IS NOT NULL"
    )

    def _auto_init(self):
        """Create the columns with their defaults, which costs nothing: computing a million partners would."""
        for name, definition in (
            ("wechat_openid", "varchar"),
            ("is_wechat_bound", "boolean DEFAULT false"),
            ("wechat_state", "varchar DEFAULT 'unbound'"),
            ("wechat_bound_at", "timestamp"),
        ):
            if not column_exists(self.env.cr, "res_partner", name):
                column = SQL.identifier(name)
                self.env.cr.execute(SQL("ALTER TABLE res_partner ADD COLUMN %s %s", column, SQL(definition)))
                self.env.cr.execute(SQL("ALTER TABLE res_partner ALTER COLUMN %s DROP DEFAULT", column))
        return super()._auto_init()

    # === COMPUTE METHODS === #

    @api.depends(
        "wechat_binding_ids.state",
        "wechat_binding_ids.openid",
        "wechat_binding_ids.is_subscribed",
        "wechat_binding_ids.bound_at",
    )
    def _compute_wechat_binding(self):
        live = {
            binding.partner_id: binding
            # sudo: wechat.binding - the state is the partner's own, whoever causes its computation
            for binding in self.sudo()._wechat_get_live_bindings()
        }
        for partner in self:
            binding = live.get(partner._origin)
            partner.wechat_openid = binding and binding.openid
            partner.is_wechat_bound = bool(binding)
            partner.wechat_state = "unbound" if not binding else "bound" if binding.is_subscribed else "unfollowed"
            partner.wechat_bound_at = binding and binding.bound_at

    @api.depends("wechat_openid")
    def _compute_wechat_openid_masked(self):
        for partner in self:
            partner.wechat_openid_masked = self.env["wechat.operation"]._mask_openid(partner.wechat_openid)

    # === CRUD METHODS === #

    @api.model
    def default_get(self, fields):
        """Take no defaults for what follows from the binding, neither a caller's nor an administrator's.

        :rtype: dict
        """
        return super().default_get([name for name in fields if name not in BINDING_FIELDS])

    @api.model_create_multi
    def create(self, vals_list):
        for vals in vals_list:
            self._wechat_refuse_forgery(vals)
        return super().create(vals_list)

    def write(self, vals):
        self._wechat_refuse_forgery(vals)
        if vals.get("company_id"):
            self._wechat_check_company(vals["company_id"])
        return super().write(vals)

    @api.ondelete(at_uninstall=False)
    def _unlink_close_wechat_binding(self):
        # sudo: wechat.binding - the binding ends with the merchant, whoever deletes it; the log keeps its name
        self.sudo()._wechat_get_live_bindings()._unbind(self.env._("The merchant was deleted."))

    # === ACTION METHODS === #

    def action_wechat_bind_code(self):
        """Show the binding code of one merchant, or start the bulk generation for several.

        :return: an act_window on a stored ``wechat.bind.code.show``, or on a ``wechat.bind.batch``.
        :rtype: dict
        :raise AccessError: if the user may not generate codes.
        :raise UserError: if WeChat refuses, or a single merchant is disabled; in words.
        """
        self._wechat_check_may_generate()
        if len(self) != 1:
            return self.env["wechat.bind.batch"]._create_for(self)._get_action()
        code = self.env["wechat.bind.code"] if self.is_wechat_bound else self._wechat_get_bind_code()
        return self.env["wechat.bind.code.show"].create({"partner_id": self.id, "code_id": code.id})._get_action()

    def action_wechat_unbind(self, reason=None):
        """Unbind merchants from WeChat at once.

        :param str reason: why; kept with the binding and in the chatter.
        :return: True
        :raise AccessError: if the user is not a WeChat manager.
        """
        self._wechat_check_group(GROUP_MANAGER, self.env._("Only WeChat managers may unbind merchants."))
        self.check_access("read")
        # sudo: wechat.binding - nobody writes bindings directly; the manager may see these, and the right was checked
        self._wechat_get_live_bindings().sudo()._unbind(reason)
        return True

    def action_wechat_unbind_dialog(self):
        """Open the dialog that asks why, and then unbinds.

        :rtype: dict
        """
        self.ensure_one()
        return self.env["wechat.unbind"]._get_action(self)

    def action_wechat_replace(self):
        """Open the dialog that asks why, unbinds, and at once shows a code for the new WeChat.

        :rtype: dict
        """
        self.ensure_one()
        return self.env["wechat.unbind"]._get_action(self, is_replacement=True)

    def action_wechat_reveal_openid(self):
        """Show the full OpenID of one merchant. That it was shown is recorded first.

        :return: an act_window on a ``wechat.openid.show``.
        :rtype: dict
        :raise AccessError: if the user is not a WeChat manager.
        :raise UserError: if there is no binding that the user may see; in words.
        """
        self.ensure_one()
        self._wechat_check_group(GROUP_MANAGER, self.env._("Only WeChat managers may see OpenIDs."))
        self.check_access("read")
        binding = self._wechat_get_live_bindings()
        if not binding:
            raise UserError(self.env._("%s is not bound to WeChat.", self.display_name))
        return self.env["wechat.openid.show"].create({"binding_id": binding.id})._get_action()

    # === BUSINESS METHODS === #

    def _wechat_get_bind_code(self):
        """Return the open binding code of one partner, or a new one, without a dialog.

        :rtype: wechat.bind.code
        :raise UserError: if the partner is disabled or already bound, there is no account, or WeChat refuses; in words.
        """
        self.ensure_one()
        self._wechat_check_bindable()
        return self.env["wechat.bind.code"]._get_or_create_for(self)

    def _wechat_generate_and_email_bind_codes(self):
        """Generate the codes of these partners and send them by email, in the background: the call is for automations,
        whose user waits for neither WeChat nor a mail server and needs no right of this addon.

        Who is already waiting for that is left out.

        :rtype: wechat.bind.batch
        """
        # sudo: wechat.bind.batch.line - whatever company's user was the first to ask
        waiting = (
            self.env["wechat.bind.batch.line"]
            .sudo()
            ._read_group([("partner_id", "in", self.ids), ("email_state", "=", "pending")], ["partner_id"])
        )
        partners = self - self.browse([partner.id for (partner,) in waiting])
        batches = self.env["wechat.bind.batch"]
        return batches._create_automated(partners, send_email=True) if partners else batches

    def _wechat_regenerate_bind_code(self):
        """Make a new binding code of one partner; the open one is revoked if WeChat grants the new one.

        :rtype: wechat.bind.code
        :raise AccessError: if the user may not generate codes.
        :raise UserError: see :meth:`_wechat_get_bind_code`.
        """
        self.ensure_one()
        self._wechat_check_may_generate()
        self._wechat_check_bindable()
        return self.env["wechat.bind.code"]._create_for(self)

    def _wechat_check_bindable(self):
        """Raise UserError, in words, if the partner or its merchant is disabled, or the partner is bound."""
        obstacle = self._wechat_get_bind_obstacle()
        if obstacle == "disabled":
            raise UserError(
                self.env._("%s is disabled. Enable it before you generate a binding code.", self.display_name)
            )
        if obstacle == "bound":
            raise UserError(
                self.env._(
                    "%s is already bound to WeChat. Unbind it before you generate a new code.", self.display_name
                )
            )

    def _wechat_get_bind_obstacle(self):
        """Return why a partner must not be bound: ``disabled`` (it or its merchant), ``bound``, or None.

        :rtype: str | None
        """
        self.ensure_one()
        # sudo: res.partner - what decides is not for everybody to see, but decides for everybody
        partner_sudo = self.sudo()
        if not (partner_sudo.active and partner_sudo.commercial_partner_id.active):
            return "disabled"
        return "bound" if partner_sudo.is_wechat_bound else None

    @api.model
    def _wechat_get_merchant_domain(self):
        """Return whom the statistics and the overview count: the merchants that are enabled.

        :rtype: Domain
        """
        return Domain([("active", "=", True), ("is_wechat_merchant", "=", True)])

    def _wechat_notify_changed(self):
        """Tell the open dialogs, lists and forms of those who may generate codes that these partners changed.

        Only ids are sent; each client reads again with its own rights.
        """
        if self:
            self.env.ref(GROUP_USER)._bus_send("wechat_merchant_bind/partner", {"ids": self.ids})

    def _wechat_mask_name(self):
        """Return the name as a public page may show it: 杭州西湖茶庄 becomes 杭州西**庄."""
        self.ensure_one()
        name = self.name or ""
        shown = len(name) // 2
        return name[:shown] + "*" * max(1, len(name) - shown - 1) + (name[-1:] if len(name) > 2 else "")

    def _wechat_get_live_bindings(self):
        """Return the live bindings of these partners that the user may see."""
        return self.env["wechat.binding"].search([("partner_id", "in", self.ids), ("state", "=", "bound")])

    def _wechat_check_company(self, company_id):
        """Refuse to move partners to a company that can't use the Official Accounts they are bound by.

        :param int company_id: where they are to belong.
        :raise UserError: if there are any; in words.
        """
        # sudo: wechat.binding - also a binding that the user may not see would be torn apart
        for binding in self.sudo()._wechat_get_live_bindings():
            if binding.company_id and binding.company_id.id != company_id:
                raise UserError(
                    self.env._(
                        "%(merchant)s is bound to WeChat by the Official Account %(account)s, which another company "
                        "can't use. Unbind the merchant before you move it to another company.",
                        merchant=binding.partner_id.display_name,
                        account=binding.account_id.name,
                    )
                )

    def _wechat_check_may_generate(self):
        """Raise AccessError unless the user may generate codes for these partners."""
        self._wechat_check_group(GROUP_USER, self.env._("You are not allowed to generate WeChat binding codes."))
        self.check_access("read")

    def _wechat_check_group(self, group, message):
        """Raise AccessError unless the user has the group or the code runs as the superuser."""
        if not self.env.su and not self.env.user.has_group(group):
            raise AccessError(message)

    @api.model
    def _wechat_refuse_forgery(self, vals):
        """Refuse values that only a scan, an import or an unbinding may set, also of callers with all rights.

        :raise AccessError: if there are any.
        """
        if BINDING_FIELDS.intersection(vals):
            raise AccessError(
                self.env._("The WeChat binding of a merchant can't be written: it follows from the merchant's scan.")
            )
