import logging

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError
from odoo.fields import Domain
from odoo.tools import SQL, format_list, plaintext2html
from odoo.tools.sql import column_exists

from ...tools.wechat_errors import WechatError
from ..const import GROUP_MANAGER, GROUP_USER

_logger = logging.getLogger(__name__)
# Fields that follow from codes and bindings. A caller that could write them could forge a binding.
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
CODE_TEMPLATE = "wechat_merchant_bind.mail_template_wechat_bind_code"
REMINDER_TEMPLATE = "wechat_merchant_bind.mail_template_wechat_bind_reminder"
# A link that goes out by e-mail may be read days later.
MAILED_LINK_DAYS = 5
# The operation that mailing a template is recorded as.
TEMPLATE_OPERATIONS = {CODE_TEMPLATE: "send", REMINDER_TEMPLATE: "remind"}
# Number of merchants that a notification names.
MAX_NAMES_SHOWN = 5


class ResPartner(models.Model):
    """A merchant, or one of its contacts: its WeChat binding, its binding codes and its portal access.

    The fields of the live binding are stored, for lists and automations, and follow from wechat.binding alone.
    """

    _name = "res.partner"
    _inherit = ["res.partner", "wechat.openid.mixin"]

    _wechat_openid_fields = ("wechat_openid",)

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

    is_wechat_merchant = fields.Boolean(
        "WeChat Merchant",
        compute="_compute_is_wechat_merchant",
        search="_search_is_wechat_merchant",
        groups=GROUP_USER,
        help="A partner from outside without a parent: neither a contact of another one nor one of our own companies.",
    )
    wechat_account_status = fields.Selection(
        [("normal", "Normal"), ("disabled", "Disabled")],
        "Account Status",
        compute="_compute_wechat_account_status",
        search="_search_wechat_account_status",
        groups=GROUP_USER,
    )
    wechat_login = fields.Char(
        "Portal Login", compute="_compute_wechat_portal_users", compute_sudo=True, groups=GROUP_USER
    )
    wechat_last_login_at = fields.Datetime(
        "Last Login", compute="_compute_wechat_portal_users", compute_sudo=True, groups=GROUP_USER
    )
    wechat_contact_name = fields.Char("Contact Person", compute="_compute_wechat_contact_name", groups=GROUP_USER)
    wechat_contact_ids = fields.Many2many(
        "res.partner", string="WeChat of the Contacts", compute="_compute_wechat_contact_ids", groups=GROUP_USER
    )
    wechat_code_user_id = fields.Many2one(
        "res.users", "With the Code of", compute="_compute_wechat_code", groups=GROUP_USER
    )
    wechat_code_generated_at = fields.Datetime("Code Generated on", compute="_compute_wechat_code", groups=GROUP_USER)

    wechat_open_code_id = fields.Many2one(
        "wechat.bind.code", "Open WeChat Binding Code", compute="_compute_wechat_open_code_id", groups=GROUP_USER
    )

    wechat_request_ids = fields.One2many(
        "wechat.bind.request",
        "partner_id",
        "WeChat Binding Requests",
        domain=[("state", "=", "pending")],
        groups=GROUP_USER,
    )
    wechat_can_undo = fields.Boolean("Can Be Undone", compute="_compute_wechat_can_undo", groups=GROUP_USER)

    # === INDEXES === #

    # Odoo searches for "IS NOT TRUE" in the order of the list. Only an index with the same predicate returns the first
    # page of unbound merchants among a million quickly. It includes the columns that lists and the company rule filter
    # by, so that the page's count is an index-only scan.
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
    # For the filter "bound in the last days", which the indexes above don't serve.
    _wechat_bound_at_idx = models.Index(
        "(wechat_bound_at) INCLUDE (id, active, company_id, parent_id, partner_share) WHERE wechat_bound_at IS NOT NULL"
    )

    def _auto_init(self):
        """Create the stored columns with their defaults, instead of computing them for every partner."""
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
            # sudo: wechat.binding - the stored state does not depend on the user that causes its computation
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

    @api.depends("parent_id", "partner_share")
    def _compute_is_wechat_merchant(self):
        own_partners = self._wechat_get_own_partners()
        for partner in self:
            partner.is_wechat_merchant = (
                not partner.parent_id and partner.partner_share and partner._origin not in own_partners
            )

    @api.model
    def _search_is_wechat_merchant(self, operator, value):
        if operator != "in":
            return NotImplemented
        return Domain(
            [
                ("parent_id", "=", False),
                ("partner_share", "=", True),
                ("id", "not in", self._wechat_get_own_partners().ids),
            ]
        )

    @api.depends("active")
    def _compute_wechat_account_status(self):
        for partner in self:
            partner.wechat_account_status = "normal" if partner.active else "disabled"

    @api.model
    def _search_wechat_account_status(self, operator, value):
        if operator != "in":
            return NotImplemented
        return Domain("active", "in", [status == "normal" for status in value])

    @api.depends("user_ids.login", "user_ids.active", "child_ids.user_ids.login", "child_ids.user_ids.active")
    def _compute_wechat_portal_users(self):
        users_by_partner = self._wechat_get_portal_users()
        users = self.env["res.users"].union(*users_by_partner.values())
        last_logins = dict(
            self.env["res.users.log"]._read_group(
                [("create_uid", "in", users.ids)], ["create_uid"], ["create_date:max"]
            )
        )
        for partner in self:
            users = users_by_partner.get(partner._origin, self.env["res.users"])
            shown = users.filtered("active") or users
            # The merchant's own login comes before those of its contacts.
            shown = shown.sorted(lambda user, merchant=partner._origin: (user.partner_id != merchant, user.id))
            partner.wechat_login = ", ".join(shown.mapped("login")) or False
            partner.wechat_last_login_at = max(
                (last_logins[user] for user in users if user in last_logins), default=False
            )

    @api.depends("name", "is_company", "child_ids.name", "child_ids.type")
    def _compute_wechat_contact_name(self):
        first_contacts = {
            parent: self.browse(contact_id)
            for parent, contact_id in self._read_group(
                [("parent_id", "in", self.ids), ("type", "=", "contact"), ("active", "=", True)],
                ["parent_id"],
                ["id:min"],
            )
        }
        contacts = self.union(*first_contacts.values())
        for partner in self:
            contact = first_contacts.get(partner._origin) or (not partner.is_company and partner)
            partner.wechat_contact_name = contact and contact.with_prefetch(contacts.ids).name

    @api.depends("child_ids.type", "child_ids.is_wechat_bound")
    def _compute_wechat_contact_ids(self):
        for partner in self:
            partner.wechat_contact_ids = partner.child_ids.filtered(
                lambda contact: contact.type == "contact" or contact.is_wechat_bound
            )

    @api.depends("wechat_binding_ids.state", "wechat_binding_ids.code_id")
    def _compute_wechat_code(self):
        codes = {binding.partner_id: binding.code_id for binding in self._wechat_get_live_bindings()}
        for partner in self:
            code = codes.get(partner._origin, self.env["wechat.bind.code"])
            partner.wechat_code_user_id = code.user_id
            partner.wechat_code_generated_at = code.create_date

    @api.depends("wechat_bind_code_ids.state", "wechat_bind_code_ids.expires_at")
    def _compute_wechat_open_code_id(self):
        codes = self.env["wechat.bind.code"].search(
            [("partner_id", "in", self.ids), ("state", "=", "active"), ("expires_at", ">", fields.Datetime.now())]
        )
        open_codes = {code.partner_id: code for code in codes}
        for partner in self:
            partner.wechat_open_code_id = open_codes.get(partner._origin)

    @api.depends("wechat_binding_ids.state")
    @api.depends_context("uid")
    def _compute_wechat_can_undo(self):
        undoable = self._wechat_get_live_bindings().filtered("can_undo").partner_id
        for partner in self:
            partner.wechat_can_undo = partner._origin in undoable

    # === CRUD METHODS === #

    def _field_to_sql(self, alias, field_expr, query=None):
        """Let the account status be grouped by, which is not stored: "active" is."""
        if field_expr == "wechat_account_status":
            self._check_field_access(self._fields[field_expr], "read")
            active = self._field_to_sql(alias, "active", query)
            return SQL("CASE WHEN %s THEN 'normal' ELSE 'disabled' END", active)
        return super()._field_to_sql(alias, field_expr, query)

    @api.model
    def default_get(self, fields):
        """Ignore defaults of the fields that follow from the binding, from the context and from ir.default.

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
        changed = self.filtered(lambda partner: partner.active != vals["active"]) if "active" in vals else self.browse()
        res = super().write(vals)
        if changed and vals["active"]:
            changed._wechat_after_enabling()
        elif changed:
            changed._wechat_after_disabling()
        return res

    @api.ondelete(at_uninstall=False)
    def _unlink_close_wechat_binding(self):
        # sudo: wechat.binding - the binding ends with the merchant; users that delete partners have no right to it
        self.sudo()._wechat_get_live_bindings()._unbind(self.env._("The merchant was deleted."))

    # === ACTION METHODS === #

    def action_wechat_bind_code(self):
        """Show the binding code of one merchant, or start the bulk generation for several.

        :return: an act_window on a stored wechat.bind.code.show, or on a wechat.bind.batch.
        :rtype: dict
        :raise AccessError: if the user may not generate codes.
        :raise UserError: if WeChat refuses, or the single merchant is disabled.
        """
        self._wechat_check_may_generate()
        if len(self) != 1:
            return self.env["wechat.bind.batch"]._create_for(self)._get_action()
        code = self.env["wechat.bind.code"] if self.is_wechat_bound else self._wechat_get_bind_code()
        return self.env["wechat.bind.code.show"].create({"partner_id": self.id, "code_id": code.id})._get_action()

    def action_wechat_send_code(self):
        """E-mail binding codes: open Odoo's composer for one merchant, queue the e-mails for several.

        A single merchant without an open code gets a new one. Of several, those without a code get no e-mail.

        :return: an act_window on mail.compose.message, or a notification with the merchants that get no e-mail.
        :rtype: dict
        :raise AccessError: if the user may not generate codes.
        :raise UserError: if the single merchant is bound or disabled, or WeChat refuses.
        """
        self._wechat_check_may_generate()
        if len(self) == 1:
            return self._wechat_get_composer_action()
        return self._wechat_get_mailed_action(self._wechat_email_bind_codes())

    def action_wechat_print_posters(self):
        """Print an A4 poster for each merchant that has an open code; see _wechat_print()."""
        return self._wechat_print("poster")

    def action_wechat_print_cards(self):
        """Print a table card for each merchant that has an open code; see _wechat_print()."""
        return self._wechat_print("card")

    def action_wechat_unbind(self, reason=None):
        """Unbind merchants from WeChat at once.

        :param str reason: stored on the binding and noted in the chatter.
        :return: True
        :raise AccessError: if the user is not a WeChat manager.
        """
        self._wechat_check_group(GROUP_MANAGER, self.env._("Only WeChat managers may unbind merchants."))
        self.check_access("read")
        # sudo: wechat.binding - users have no right to write bindings; the manager's right to unbind was checked
        self._wechat_get_live_bindings().sudo()._unbind(reason)
        return True

    def action_wechat_unbind_dialog(self):
        """Open the dialog that asks for the reason and unbinds the merchant.

        :rtype: dict
        """
        self.ensure_one()
        return self.env["wechat.unbind"]._get_action(self)

    def action_wechat_replace(self):
        """Open the dialog that asks for the reason, unbinds the merchant, and shows a code for its new WeChat.

        :rtype: dict
        """
        self.ensure_one()
        return self.env["wechat.unbind"]._get_action(self, is_replacement=True)

    def action_wechat_undo_bind(self):
        """Undo a fresh binding, for example after the wrong person scanned the code.

        :return: True
        :raise AccessError: if the user is neither a WeChat manager nor the one that generated the code.
        :raise UserError: if the merchant is not bound, or was bound too long ago.
        """
        self.ensure_one()
        self._wechat_check_may_generate()
        binding = self._wechat_get_live_bindings()
        if not binding:
            raise UserError(self.env._("%s is no longer bound to WeChat.", self.display_name))
        if not binding._is_fresh():
            raise UserError(
                self.env._(
                    "A binding can only be undone within 72 hours. Ask a WeChat manager to unbind %s.",
                    self.display_name,
                )
            )
        if not binding.can_undo and not self.env.su:
            raise AccessError(
                self.env._("Only the user that generated the binding code, or a WeChat manager, may undo the binding.")
            )
        # sudo: wechat.binding - users have no right to write bindings; the right to undo this one was checked
        binding.sudo()._unbind(self.env._("The fresh binding was undone by %s.", self.env.user.name))
        return True

    def action_wechat_reveal_openid(self):
        """Show the full OpenID of one merchant, after recording that in the operations log.

        :return: an act_window on a wechat.openid.show.
        :rtype: dict
        :raise AccessError: if the user is not a WeChat manager.
        :raise UserError: if there is no binding that the user may see.
        """
        self.ensure_one()
        self._wechat_check_group(GROUP_MANAGER, self.env._("Only WeChat managers may see OpenIDs."))
        self.check_access("read")
        binding = self._wechat_get_live_bindings()
        if not binding:
            raise UserError(self.env._("%s is not bound to WeChat.", self.display_name))
        return self.env["wechat.openid.show"].create({"binding_id": binding.id})._get_action()

    def action_wechat_view(self):
        """Show a merchant and its binding in a read-only dialog.

        :rtype: dict
        """
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "name": self.display_name,
            "res_model": self._name,
            "res_id": self.id,
            "view_mode": "form",
            "views": [(self.env.ref("wechat_merchant_bind.wechat_merchant_view_form").id, "form")],
            "target": "new",
            "context": {"dialog_size": "large"},
        }

    def action_wechat_edit(self):
        """Open the form of a merchant.

        :rtype: dict
        """
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "name": self.display_name,
            "res_model": self._name,
            "res_id": self.id,
            "view_mode": "form",
            "views": [(self.env.ref("base.view_partner_form").id, "form")],
        }

    def action_wechat_disable(self):
        """Disable merchants: archive them and their portal users, and revoke their open codes. Bindings are kept.

        :return: True
        :raise AccessError: if the user may not generate codes, or not change these partners.
        :raise UserError: if an internal user belongs to one of them.
        """
        self._wechat_check_may_disable()
        # A list with active_test=False in its context would let action_archive() treat archived users as active.
        merchants = self.with_context(active_test=True).filtered("active")
        # sudo: res.users - the right to disable their merchants was just checked
        users_sudo = merchants.env["res.users"].sudo().search(merchants._wechat_get_family_domain())
        if internal := users_sudo.filtered(lambda user: not user.share):
            raise UserError(
                self.env._(
                    "%s can log in as internal users and belong to what you want to disable. Their access is not a "
                    "merchant's: ask an administrator to archive these users first.",
                    ", ".join(internal.mapped("display_name")),
                )
            )
        users_sudo.action_archive()
        # After archiving, because that removes an earlier mark.
        for user in users_sudo:
            partner = user.partner_id
            user.wechat_disabled_partner_id = partner if partner in merchants else partner.commercial_partner_id
        merchants.action_archive()
        return True

    def action_wechat_enable(self):
        """Enable merchants, and restore the portal users that were archived with them.

        :return: True
        :raise AccessError: if the user may not generate codes, or not change these partners.
        """
        self._wechat_check_may_disable()
        self.action_unarchive()
        return True

    # === BUSINESS METHODS === #

    @api.model
    def _wechat_get_merchant_domain(self):
        """Return the domain of the enabled merchants, which the statistics and the overview count.

        :rtype: Domain
        """
        return Domain([("active", "=", True), ("is_wechat_merchant", "=", True)])

    @api.model
    def _wechat_get_own_partners(self):
        """Return the shared partners that are no merchants: the partners of companies, and those of Odoo's public user
        and template of portal users.
        """
        # sudo: res.company - all companies are needed, also those that the user may not see
        # pylint: disable-next=no-search-all  # a database has a handful of companies
        own_ids = self.env["res.company"].sudo().search([]).partner_id.ids
        for name in ("base.public_partner", "base.template_portal_user_id_res_partner"):
            own_ids += filter(None, [self.env["ir.model.data"]._xmlid_to_res_id(name)])
        return self.browse(own_ids)

    def _wechat_get_family_domain(self):
        """Return the domain of records with one of these partners, or one of their contacts, as partner_id.

        :rtype: Domain
        """
        return Domain("partner_id", "in", self.ids) | Domain("partner_id.commercial_partner_id", "in", self.ids)

    def _wechat_get_portal_users(self):
        """Return the portal users, including archived ones, of these merchants and of their contacts.

        :rtype: dict[res.partner, res.users]
        """
        users = self.env["res.users"].with_context(active_test=False)
        users_by_partner = {}
        for user in users.search(self._wechat_get_family_domain() & Domain("share", "=", True)):
            for partner in user.partner_id | user.partner_id.commercial_partner_id:
                users_by_partner[partner] = users_by_partner.get(partner, users) | user
        return users_by_partner

    def _wechat_get_live_bindings(self):
        """Return the live bindings of these partners that the user may see."""
        return self.env["wechat.binding"].search([("partner_id", "in", self.ids), ("state", "=", "bound")])

    def _wechat_notify_changed(self):
        """Notify the open dialogs, lists and forms of WeChat users that these partners changed.

        Only the ids are sent: each client reads the records again with its own rights.
        """
        if self:
            self.env.ref(GROUP_USER)._bus_send("wechat_merchant_bind/partner", {"ids": self.ids})

    def _wechat_mask_name(self):
        """Return the name as a public page may show it: 杭州西湖茶庄 becomes 杭州西**庄."""
        self.ensure_one()
        name = self.name or ""
        shown = len(name) // 2
        return name[:shown] + "*" * max(1, len(name) - shown - 1) + (name[-1:] if len(name) > 2 else "")

    # === BUSINESS METHODS - CHECKS === #

    def _wechat_check_group(self, group, message):
        """Raise AccessError unless the user is in the group or the environment is sudoed."""
        if not self.env.su and not self.env.user.has_group(group):
            raise AccessError(message)

    def _wechat_check_may_generate(self):
        """Raise AccessError unless the user may generate codes for these partners."""
        self._wechat_check_group(GROUP_USER, self.env._("You are not allowed to generate WeChat binding codes."))
        self.check_access("read")

    def _wechat_check_may_disable(self):
        """Raise AccessError unless the user may disable and enable these partners."""
        self._wechat_check_group(GROUP_USER, self.env._("You are not allowed to disable or enable merchants."))
        self.check_access("write")

    def _wechat_check_company(self, company_id):
        """Refuse to move partners to a company that can't use the Official Accounts of their bindings.

        :param int company_id: the new company.
        :raise UserError: if a partner has such a binding.
        """
        # sudo: wechat.binding - bindings that the user may not see count, too
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

    @api.model
    def _wechat_refuse_forgery(self, vals):
        """Refuse values of fields that follow from the binding, even from callers with all rights.

        :raise AccessError: if there are such values.
        """
        if BINDING_FIELDS.intersection(vals):
            raise AccessError(
                self.env._("The WeChat binding of a merchant can't be written: it follows from the merchant's scan.")
            )

    # === BUSINESS METHODS - CODES === #

    def _wechat_get_bind_code(self):
        """Return the open binding code of one partner, or a new one, without a dialog.

        :rtype: wechat.bind.code
        :raise UserError: if the partner is disabled or already bound, there is no account, or WeChat refuses.
        """
        self.ensure_one()
        self._wechat_check_bindable()
        return self.env["wechat.bind.code"]._get_or_create_for(self)

    def _wechat_generate_and_email_bind_codes(self):
        """Generate the codes of these partners and e-mail them, in the background.

        Made for automations: the call waits for neither WeChat nor a mail server, and the user that causes it needs no
        right of this addon. Partners with a waiting e-mail are left out.

        :rtype: wechat.bind.batch
        """
        # sudo: wechat.bind.batch.line - also lines of other companies' batches
        waiting = (
            self.env["wechat.bind.batch.line"]
            .sudo()
            ._read_group([("partner_id", "in", self.ids), ("email_state", "=", "pending")], ["partner_id"])
        )
        partners = self - self.browse([partner.id for (partner,) in waiting])
        batches = self.env["wechat.bind.batch"]
        return batches._create_automated(partners, send_email=True) if partners else batches

    def _wechat_regenerate_bind_code(self):
        """Generate a new binding code for one partner, and revoke its open one if WeChat grants the new one.

        :rtype: wechat.bind.code
        :raise AccessError: if the user may not generate codes.
        :raise UserError: see _wechat_get_bind_code().
        """
        self.ensure_one()
        self._wechat_check_may_generate()
        self._wechat_check_bindable()
        return self.env["wechat.bind.code"]._create_for(self)

    def _wechat_check_bindable(self):
        """Raise UserError if the partner or its merchant is disabled, or the partner is bound."""
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
        """Return the obstacle to binding a partner: "disabled" (the partner or its merchant), "bound", or None.

        :rtype: str | None
        """
        self.ensure_one()
        # sudo: res.partner - the obstacle is the same for all users, also for those without access to these fields
        partner_sudo = self.sudo()
        if not (partner_sudo.active and partner_sudo.commercial_partner_id.active):
            return "disabled"
        return "bound" if partner_sudo.is_wechat_bound else None

    # === BUSINESS METHODS - DISABLING === #

    def _wechat_after_disabling(self):
        """Revoke the open codes of archived partners, cancel their waiting messages, and record the disabling."""
        # sudo: wechat.bind.code - users that archive partners have no right to write codes
        codes_sudo = self.env["wechat.bind.code"].sudo()
        codes_sudo = codes_sudo.search(Domain("state", "=", "active") & self._wechat_get_family_domain())
        concerned = self._wechat_filter_logged() | (self & codes_sudo.partner_id)
        codes_sudo._revoke(self.env._("The merchant was disabled."))
        # sudo: res.partner - also contacts that the user may not see
        family_sudo = self.sudo().with_context(active_test=False).search([("id", "child_of", self.ids)])
        self.env["wechat.message"]._cancel_waiting(family_sudo, "wechat_disabled")
        notes = concerned._wechat_prepare_status_notes(
            self.env._("Merchant disabled."), self.env._("Portal users archived with it: %s")
        )
        self.env["wechat.operation"]._log("disable", concerned, notes)
        concerned._wechat_notify_changed()

    def _wechat_after_enabling(self):
        """Restore the portal users that were archived with these partners, and record the enabling."""
        concerned = self._wechat_filter_logged()
        notes = concerned._wechat_prepare_status_notes(
            self.env._("Merchant enabled."), self.env._("Portal users restored: %s")
        )
        self._wechat_get_disabled_users().action_unarchive()
        self.env["wechat.operation"]._log("enable", concerned, notes)
        concerned._wechat_notify_changed()

    def _wechat_prepare_status_notes(self, note, users_note):
        """Return the log's note about each partner that was disabled or enabled.

        :param str note: the text for every partner.
        :param str users_note: added if portal users were archived with it, with %s for their logins.
        :rtype: dict[int, str]
        """
        notes = dict.fromkeys(self.ids, note)
        for partner, users_sudo in self._wechat_get_disabled_users().grouped("wechat_disabled_partner_id").items():
            notes[partner.id] += "\n" + users_note % ", ".join(users_sudo.mapped("login"))
        return notes

    def _wechat_get_disabled_users(self):
        """Return the sudoed users that were archived with these partners."""
        # sudo: res.users - users that may change a merchant have no right to archived users
        users_sudo = self.env["res.users"].sudo().with_context(active_test=False)
        return users_sudo.search([("wechat_disabled_partner_id", "in", self.ids), ("active", "=", False)])

    def _wechat_filter_logged(self):
        """Return the partners with a recorded status: merchants, and their contacts that are bound."""
        # sudo: res.partner - independent of the right to see is_wechat_bound
        return self.filtered(
            lambda partner: partner.sudo().is_wechat_bound or (partner.partner_share and not partner.parent_id)
        )

    # === BUSINESS METHODS - MAILING === #

    def _wechat_email_bind_codes(self):
        """Queue an e-mail with its open binding code for each merchant. Neither WeChat nor a mail server is called.

        Generate the codes first: a merchant without one gets no e-mail. The merchant's chatter and the operations log
        record the addresses and the user. If a merchant with a code can't be mailed, its chatter gives the reason.

        :return: the reasons why merchants get no e-mail, by id.
        :rtype: dict[int, str]
        :raise UserError: if the mail template was deleted.
        """
        # sudo: res.partner - the caller has checked the right to send these merchants their codes
        return self.sudo()._wechat_queue_mails(self._wechat_get_template(CODE_TEMPLATE))

    def _wechat_queue_mails(self, template):
        """Queue an e-mail from a template for each merchant that can be mailed its code.

        :return: see _wechat_email_bind_codes().
        :rtype: dict[int, str]
        """
        obstacles = self._wechat_get_mail_obstacles()
        mailable = self.filtered(lambda partner: partner.id not in obstacles)
        if mailable:
            mailable.wechat_open_code_id._renew_share_links(MAILED_LINK_DAYS)
            mailable.message_mail_with_source(template, auto_delete_keep_log=True, force_send=False)
            # sudo: ir.cron - sends the queue now instead of within the hour
            self.env.ref("mail.ir_cron_mail_scheduler_action").sudo()._trigger()
        undelivered = self.filtered(lambda partner: partner.id in obstacles and partner.wechat_open_code_id)
        undelivered._message_log_batch(
            {
                partner.id: plaintext2html(self.env._("WeChat binding code not e-mailed: %s", obstacles[partner.id]))
                for partner in undelivered
            }
        )
        return obstacles

    def _wechat_get_mail_obstacles(self):
        """Return the reasons why merchants can't be mailed their codes, by id.

        :rtype: dict[int, str]
        """
        obstacles = {}
        for partner in self:
            obstacle = partner._wechat_get_bind_obstacle()
            if obstacle == "disabled":
                obstacles[partner.id] = self.env._("Disabled")
            elif obstacle == "bound":
                obstacles[partner.id] = self.env._("Already bound to WeChat")
            elif not partner.wechat_open_code_id:
                obstacles[partner.id] = self.env._("No valid binding code: generate it first")
            elif not partner.email_normalized:
                obstacles[partner.id] = self.env._("No valid e-mail address")
            elif partner.is_blacklisted:
                obstacles[partner.id] = self.env._("Does not want e-mails (blacklist)")
        return obstacles

    @api.model
    def _wechat_get_template(self, xmlid):
        """Return a mail template of this addon.

        :rtype: mail.template
        :raise UserError: if it was deleted.
        """
        template = self.env.ref(xmlid, raise_if_not_found=False)
        if not template:
            raise UserError(self.env._("The mail template was deleted. Upgrade the WeChat app to get it back."))
        return template

    @api.model
    def _wechat_get_mail_operation(self, template):
        """Return the operation of mailing a template: "send", "remind", or None if it isn't one of this addon.

        :rtype: str | None
        """
        for xmlid, operation in TEMPLATE_OPERATIONS.items():
            if template and template == self.env.ref(xmlid, raise_if_not_found=False):
                return operation
        return None

    def _wechat_get_composer_action(self):
        """Return the act_window of Odoo's composer with the code of one merchant.

        :rtype: dict
        :raise UserError: see _wechat_get_bind_code().
        """
        self._wechat_get_bind_code()._renew_share_links(MAILED_LINK_DAYS)
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Send Binding Code by E-mail"),
            "res_model": "mail.compose.message",
            "view_mode": "form",
            "views": [(False, "form")],
            "target": "new",
            "context": {
                "default_composition_mode": "comment",
                "default_model": self._name,
                "default_res_ids": self.ids,
                "default_template_id": self._wechat_get_template(CODE_TEMPLATE).id,
                # Followers get no copy: every reader of the code can bind the merchant.
                "default_notify_skip_followers": True,
                "force_email": True,
            },
        }

    def _wechat_get_mailed_action(self, obstacles):
        """Return a notification with the number of e-mails, the merchants that get none, and the reasons.

        :param dict obstacles: the result of _wechat_email_bind_codes().
        :rtype: dict
        """
        title = self.env._("Binding codes on their way by e-mail: %s", len(self) - len(obstacles))
        left_out = self.filtered(lambda partner: partner.id in obstacles)
        return self._wechat_notify_left_out(
            left_out.grouped(lambda partner: obstacles[partner.id]),
            title=title,
            type="warning" if obstacles else "success",
        )

    @api.model
    def _wechat_notify_left_out(self, merchants, **params):
        """Return a notification that names the merchants left out, if any; it then stays until it is closed.

        :param dict[str, res.partner] merchants: by reason.
        :param params: of the client action, such as "title" and "next".
        :rtype: dict
        """
        lines = []
        for reason, same in merchants.items():
            names = same[:MAX_NAMES_SHOWN].mapped("display_name")
            lines.append(
                self.env._(
                    "%(reason)s (%(count)s): %(names)s",
                    reason=reason,
                    count=len(same),
                    names=format_list(self.env, names if len(names) == len(same) else [*names, "…"], "unit-short"),
                )
            )
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "type": "warning",
                # The web client shows it as one paragraph.
                "message": self.env._("; ").join(lines),
                "sticky": bool(lines),
                **params,
            },
        }

    def _wechat_check_mailed_tokens(self, tokens):
        """Raise UserError if an e-mail contains a link other than that of the merchant's open code.

        :param list[str] tokens: the tokens of the links in the e-mail.
        """
        self.ensure_one()
        if set(tokens) - {self.wechat_open_code_id.share_token}:
            raise UserError(
                self.env._(
                    "The binding code in this e-mail is no longer valid: it was used, revoked or generated again. "
                    "Close this window and send the present code."
                )
            )

    @api.model
    def _wechat_mask_email(self, address):
        """Return a masked address for the operations log: boss@example.com becomes b***@example.com."""
        name, _at, domain = address.rpartition("@")
        return f"{name[:1]}***@{domain}"

    # === BUSINESS METHODS - PRINTING === #

    def _wechat_print(self, layout):
        """Print the open codes of merchants, one page each.

        :param str layout: see WechatBindCode._get_poster_report_action().
        :return: an ir.actions.report, or a notification with the merchants without a code, followed by the report.
        :rtype: dict
        :raise AccessError: if the user may not generate codes.
        :raise UserError: if none of the merchants has an open code.
        """
        self._wechat_check_may_generate()
        action = self.wechat_open_code_id._get_poster_report_action(layout)
        left_out = self.filtered(lambda partner: not partner.wechat_open_code_id)
        if not left_out:
            return action
        reason = self.env._("Not printed, since they have no valid binding code")
        return self._wechat_notify_left_out({reason: left_out}, next=action)

    # === BUSINESS METHODS - PORTAL === #

    def _wechat_get_portal_values(self):
        """Return the rendering values of the merchant's page in the portal.

        :return: "state" ("disabled", "bound", "unfollowed", "waiting" for a scan, or "unbound"), "binding", "code",
            "bind_request" (the scan that waits for its confirmation), and "version", which changes with the page.
        :rtype: dict
        """
        self.ensure_one()
        binding = self._wechat_get_live_bindings()
        code = self._wechat_get_open_code()
        if self._wechat_get_bind_obstacle() == "disabled":
            state = "disabled"
        elif binding:
            state = "bound" if binding.is_subscribed else "unfollowed"
        else:
            state = "waiting" if code else "unbound"
        request = self.env["wechat.bind.request"]
        version = state
        if state == "waiting":
            request = request.search([("code_id", "=", code.id), ("state", "=", "pending")], limit=1)
            version = f"{state} {code.expires_at} {request.id}"
        return {"state": state, "binding": binding, "code": code, "bind_request": request, "version": version}

    def _wechat_get_open_code(self):
        """Return the binding code of this merchant that can be scanned now, or an empty one."""
        self.ensure_one()
        codes = self.env["wechat.bind.code"].search([("partner_id", "=", self.id), ("state", "=", "active")])
        return codes.filtered(lambda code: code._is_open())

    def _wechat_generate_portal_code(self):
        """Ensure that the merchant has an open binding code on its page in the portal.

        :return: None, or the obstacle: "disabled", "bound", "limit" (too many attempts), "no_account", or
            "unavailable" (WeChat's answer is logged and not shown to the merchant).
        :rtype: str | None
        """
        self.ensure_one()
        state = self._wechat_get_portal_values()["state"]
        if state in ("disabled", "waiting"):
            return None if state == "waiting" else state
        if state != "unbound":
            return "bound"
        if not self.env["wechat.portal.attempt"]._count_attempt(self):
            return "limit"
        try:
            with self.env.cr.savepoint():
                self._wechat_get_bind_code()
        except UserError as error:
            _logger.warning("wechat.codes: none in the portal partner=%s error=%s", self.id, error)
            return "unavailable" if isinstance(error.__cause__, WechatError) else "no_account"
        return None

    def _wechat_unbind_in_portal(self):
        """Unbind the merchant on its own request."""
        self._wechat_get_live_bindings()._unbind(self.env._("The merchant unbound itself in the portal."))
