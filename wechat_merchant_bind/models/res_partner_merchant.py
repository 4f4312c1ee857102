from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.fields import Domain
from odoo.tools import SQL

from .res_partner import GROUP_USER


class ResPartner(models.Model):
    """What the list of merchants shows of a partner, and what disabling and enabling a merchant does."""

    _inherit = "res.partner"  # pylint: disable=consider-merging-classes-inherited  # one file a topic

    # === FIELDS === #

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

    # === COMPUTE METHODS === #

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

    def _field_to_sql(self, alias, field_expr, query=None):
        """Let the account status be grouped by, which is not stored: ``active`` is."""
        if field_expr == "wechat_account_status":
            self._check_field_access(self._fields[field_expr], "read")
            active = self._field_to_sql(alias, "active", query)
            return SQL("CASE WHEN %s THEN 'normal' ELSE 'disabled' END", active)
        return super()._field_to_sql(alias, field_expr, query)

    # === CRUD METHODS === #

    def write(self, vals):
        changed = self.filtered(lambda partner: partner.active != vals["active"]) if "active" in vals else self.browse()
        res = super().write(vals)
        if changed and vals["active"]:
            changed._wechat_after_enabling()
        elif changed:
            changed._wechat_after_disabling()
        return res

    # === ACTION METHODS === #

    def action_wechat_view(self):
        """Show what a merchant is and how it is bound, in a dialog that changes nothing.

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
        :raise UserError: if an internal user belongs to one of them; in words.
        """
        self._wechat_check_may_disable()
        # A list that shows the archived ones too would let Odoo take archived users for active ones.
        merchants = self.with_context(active_test=True).filtered("active")
        # sudo: res.users - the logins of merchants that the user may disable, which was just checked
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
        # After it: archiving a user ends an earlier mark.
        for user in users_sudo:
            partner = user.partner_id
            user.wechat_disabled_partner_id = partner if partner in merchants else partner.commercial_partner_id
        merchants.action_archive()
        return True

    def action_wechat_enable(self):
        """Enable disabled merchants, and restore exactly the portal users that were archived with them.

        :return: True
        :raise AccessError: if the user may not generate codes, or not change these partners.
        """
        self._wechat_check_may_disable()
        self.action_unarchive()
        return True

    # === BUSINESS METHODS === #

    @api.model
    def _wechat_get_own_partners(self):
        """Return the partners that look as if they were from outside, but are nobody's merchants: our own companies,
        and who stands behind Odoo's public user and its template of portal users.
        """
        # sudo: res.company - only told apart by, and all of them: also those that the user may not see
        # pylint: disable-next=no-search-all  # a database has a handful of companies
        own_ids = self.env["res.company"].sudo().search([]).partner_id.ids
        for name in ("base.public_partner", "base.template_portal_user_id_res_partner"):
            own_ids += filter(None, [self.env["ir.model.data"]._xmlid_to_res_id(name)])
        return self.browse(own_ids)

    def _wechat_after_disabling(self):
        """End the codes that merchants could still be bound with, and record it, whatever archived them."""
        # sudo: wechat.bind.code - the codes of a merchant end with it, whoever archives it
        codes_sudo = self.env["wechat.bind.code"].sudo()
        codes_sudo = codes_sudo.search(Domain("state", "=", "active") & self._wechat_get_family_domain())
        concerned = self._wechat_filter_concerned() | (self & codes_sudo.partner_id)
        codes_sudo._revoke(self.env._("The merchant was disabled."))
        # sudo: res.partner - also the contacts that the user may not see
        family_sudo = self.sudo().with_context(active_test=False).search([("id", "child_of", self.ids)])
        self.env["wechat.message"]._cancel_waiting(family_sudo, "wechat_disabled")
        notes = concerned._wechat_prepare_status_notes(
            self.env._("Merchant disabled."), self.env._("Portal users archived with it: %s")
        )
        self.env["wechat.operation"]._log("disable", concerned, notes)
        concerned._wechat_notify_changed()

    def _wechat_after_enabling(self):
        """Restore the portal users that were archived with merchants, and record it, whatever brought these back."""
        concerned = self._wechat_filter_concerned()
        notes = concerned._wechat_prepare_status_notes(
            self.env._("Merchant enabled."), self.env._("Portal users restored: %s")
        )
        self._wechat_get_disabled_users().action_unarchive()
        self.env["wechat.operation"]._log("enable", concerned, notes)
        concerned._wechat_notify_changed()

    def _wechat_prepare_status_notes(self, note, users_note):
        """Return what the log says of each partner that was disabled or enabled.

        :param str note: what it says of all of them.
        :param str users_note: what it adds where portal users were archived, with ``%s`` for their logins.
        :rtype: dict[int, str]
        """
        notes = dict.fromkeys(self.ids, note)
        for partner, users_sudo in self._wechat_get_disabled_users().grouped("wechat_disabled_partner_id").items():
            notes[partner.id] += "\n" + users_note % ", ".join(users_sudo.mapped("login"))
        return notes

    def _wechat_get_disabled_users(self):
        """Return the sudoed users that were archived with these partners."""
        # sudo: res.users - they come and go with the merchant; whoever may write it may grant portal access anyway
        users_sudo = self.env["res.users"].sudo().with_context(active_test=False)
        return users_sudo.search([("wechat_disabled_partner_id", "in", self.ids), ("active", "=", False)])

    def _wechat_filter_concerned(self):
        """Return those whose disabling belongs into the log: merchants, and contacts of merchants that are bound."""
        # sudo: res.partner - whether it is bound is not for everybody to see, but recorded whoever archives it
        return self.filtered(
            lambda partner: partner.sudo().is_wechat_bound or (partner.partner_share and not partner.parent_id)
        )

    def _wechat_get_portal_users(self):
        """Return the portal users, also archived ones, of each of these merchants and of their contacts.

        :rtype: dict[res.partner, res.users]
        """
        users = self.env["res.users"].with_context(active_test=False)
        users_by_partner = {}
        for user in users.search(self._wechat_get_family_domain() & Domain("share", "=", True)):
            for partner in user.partner_id | user.partner_id.commercial_partner_id:
                users_by_partner[partner] = users_by_partner.get(partner, users) | user
        return users_by_partner

    def _wechat_get_family_domain(self):
        """Return the domain of records whose ``partner_id`` is one of these partners, or a contact of one of them.

        :rtype: Domain
        """
        return Domain("partner_id", "in", self.ids) | Domain("partner_id.commercial_partner_id", "in", self.ids)

    def _wechat_check_may_disable(self):
        """Raise AccessError unless the user may disable and enable these partners."""
        self._wechat_check_group(GROUP_USER, self.env._("You are not allowed to disable or enable merchants."))
        self.check_access("write")
