"""The table of all rights. test_rights.py checks each cell as the user of that role.

A model, method, route or field without a row fails the test, and so does a row without its definition. To add one of
them, add its row here, and in common_rights.py the record or address to test it with.
"""

from typing import NamedTuple

PUBLIC, PORTAL, EMPLOYEE, USER, MANAGER = ROLES = ("public", "portal", "employee", "user", "manager")

NO_ROLES = frozenset()
PORTALS = frozenset({PORTAL})
MANAGERS = frozenset({MANAGER})
USERS = frozenset({USER, MANAGER})
EMPLOYEES = frozenset({EMPLOYEE, USER, MANAGER})
ALL_ROLES = frozenset(ROLES)

# === MODELS === #


class Model(NamedTuple):
    """The roles with each right on the records of a model. Other roles get an AccessError."""

    # Also searches and exports.
    read: frozenset = NO_ROLES
    # Also imports.
    create: frozenset = NO_ROLES
    write: frozenset = NO_ROLES
    unlink: frozenset = NO_ROLES


# Bindings, codes, batches, events and the log are written only by methods, which check the right and then use sudo. The
# right on a dialog is the right to its action.
MODELS = {
    "wechat.account": Model(read=USERS, create=MANAGERS, write=MANAGERS, unlink=MANAGERS),
    "wechat.account.health": Model(read=MANAGERS),
    "wechat.access.token": Model(),
    "wechat.bind.code": Model(read=USERS),
    "wechat.bind.request": Model(read=USERS),
    "wechat.binding": Model(read=USERS),
    # Created only by an import: see TestForgery and TestBindingImport.
    "wechat.binding.import": Model(read=MANAGERS),
    "wechat.binding.import.line": Model(read=MANAGERS),
    "wechat.binding.migration": Model(read=MANAGERS, create=MANAGERS),
    "wechat.binding.migration.line": Model(read=MANAGERS),
    "wechat.bind.batch": Model(read=USERS),
    "wechat.bind.batch.line": Model(read=USERS),
    "wechat.event": Model(read=MANAGERS),
    "wechat.message": Model(read=USERS),
    "wechat.message.report": Model(read=USERS),
    "wechat.operation": Model(read=MANAGERS),
    "wechat.bind.funnel": Model(read=USERS),
    "wechat.bind.report": Model(read=USERS),
    "wechat.bound.rate": Model(read=USERS),
    "wechat.portal.attempt": Model(),
    "wechat.template": Model(read=USERS, create=MANAGERS, write=MANAGERS, unlink=MANAGERS),
    "wechat.template.line": Model(read=USERS, create=MANAGERS, write=MANAGERS, unlink=MANAGERS),
    "wechat.bind.code.show": Model(read=USERS, create=USERS, write=USERS),
    "wechat.account.check": Model(read=MANAGERS, create=MANAGERS, write=MANAGERS),
    "wechat.account.check.line": Model(read=MANAGERS, create=MANAGERS, write=MANAGERS),
    "wechat.openid.show": Model(read=MANAGERS, create=MANAGERS),
    "wechat.unbind": Model(read=MANAGERS, create=MANAGERS, write=MANAGERS),
    "wechat.composer": Model(read=USERS, create=USERS, write=USERS),
    "wechat.template.add": Model(read=MANAGERS, create=MANAGERS, write=MANAGERS),
    "wechat.template.preview": Model(read=USERS, create=USERS, write=USERS),
    "wechat.template.test": Model(read=MANAGERS, create=MANAGERS, write=MANAGERS),
}

# Additions to an abstract model are in all its heirs. They have one row, tested with one heir.
INSTANCES = {"mail.thread": "res.partner"}

# === METHODS === #


class Method(NamedTuple):
    """The roles that may call a method by RPC. Other roles get an AccessError."""

    allowed: frozenset
    # The record of common_rights.py to call it on; None for a method of the model.
    on: str | None = None
    args: tuple = ()
    # The roles that may call it on the other company's record of that name.
    foreign: frozenset = NO_ROLES


FORGERY = {
    "is_wechat_bound": True,
    "wechat_bound_at": "2026-01-01 00:00:00",
    "wechat_openid": "oForged",
    "wechat_state": "bound",
}

# Every public method that the addon defines, on its own models and on Odoo's.
METHODS = {
    "res.partner.create": Method(NO_ROLES, args=([{"name": "x", **FORGERY}],)),
    "res.partner.write": Method(NO_ROLES, on="merchant", args=(FORGERY,)),
    # Odoo's rights. The addon drops values that would forge a binding.
    "res.partner.default_get": Method(ALL_ROLES, args=(["name", "wechat_openid"],), foreign=ALL_ROLES),
    "res.partner.action_wechat_bind_code": Method(USERS, on="merchant"),
    # Also the user that generated the code of the binding: see test_undo.py.
    "res.partner.action_wechat_undo_bind": Method(MANAGERS, on="bound_merchant"),
    "res.partner.action_wechat_print_cards": Method(USERS, on="invited_merchant"),
    "res.partner.action_wechat_print_posters": Method(USERS, on="invited_merchant"),
    "res.partner.action_wechat_send_code": Method(USERS, on="invited_merchant"),
    "res.partner.action_wechat_disable": Method(USERS, on="merchant"),
    "res.partner.action_wechat_edit": Method(EMPLOYEES, on="merchant"),
    "res.partner.action_wechat_enable": Method(USERS, on="merchant"),
    # Opens the dialog to unbind, which has its own row.
    "res.partner.action_wechat_replace": Method(ALL_ROLES, on="bound_merchant", foreign=ALL_ROLES),
    "res.partner.action_wechat_reveal_openid": Method(MANAGERS, on="bound_merchant"),
    "res.partner.action_wechat_unbind": Method(MANAGERS, on="bound_merchant", args=("reason",)),
    # Only opens the dialog to unbind, which has its own row.
    "res.partner.action_wechat_unbind_dialog": Method(ALL_ROLES, on="bound_merchant", foreign=ALL_ROLES),
    # Opens a list of messages, which has its own rights.
    "res.partner.action_wechat_messages": Method(ALL_ROLES, on="merchant", foreign=ALL_ROLES),
    "res.partner.action_wechat_view": Method(EMPLOYEES, on="merchant"),
    # Odoo's rights. The addon only logs these changes.
    "ir.config_parameter.create": Method(NO_ROLES, args=([{"key": "wechat_merchant_bind.x", "value": "x"}],)),
    "ir.config_parameter.write": Method(NO_ROLES, on="parameter", args=({"value": "x"},)),
    "res.groups.write": Method(NO_ROLES, on="group", args=({"name": "x"},)),
    # Odoo's rights: administrators only.
    "mail.mail.mark_outgoing": Method(NO_ROLES, on="email"),
    "mail.mail.cancel": Method(NO_ROLES, on="email"),
    "res.users.create": Method(NO_ROLES, args=([{"name": "x", "login": "x"}],)),
    "res.users.write": Method(NO_ROLES, on="other_user", args=({"group_ids": []},)),
    # Odoo's rights. The addon masks codes in the body before.
    "mail.message.create": Method(EMPLOYEES, args=([{"body": "x"}],), foreign=EMPLOYEES),
    "mail.message.write": Method(EMPLOYEES, on="mail.message", args=({"body": "x"},)),
    "mail.scheduled.message.create": Method(
        EMPLOYEES,
        args=(
            [
                {
                    "author_id": 1,
                    "body": "x",
                    "model": "res.partner",
                    "res_id": 1,
                    "scheduled_date": "2040-01-01 00:00:00",
                }
            ],
        ),
        foreign=EMPLOYEES,
    ),
    "mail.scheduled.message.write": Method(NO_ROLES, on="scheduled_message", args=({"body": "x"},)),
    "mail.template.create": Method(EMPLOYEES, args=([{"name": "x"}],), foreign=EMPLOYEES),
    "mail.template.write": Method(NO_ROLES, on="mail_template", args=({"name": "x"},)),
    # Imports bindings. The temporary file has Odoo's own rights.
    "base_import.import.execute_import": Method(
        MANAGERS,
        on="import_screen",
        args=(["openid"], ["OpenID"], {"quoting": '"', "separator": ",", "encoding": "utf-8"}),
        foreign=MANAGERS,
    ),
    # Returns column names, no data.
    "base_import.import.get_fields_tree": Method(ALL_ROLES, args=("wechat.bind.batch",), foreign=ALL_ROLES),
    "wechat.account.action_generate_secrets": Method(MANAGERS, on="account"),
    "wechat.account.action_test_connection": Method(MANAGERS, on="account"),
    # Returns readable values without the secrets.
    "wechat.account.copy_data": Method(USERS, on="account"),
    "wechat.account.action_confirm_outbox": Method(MANAGERS, on="account"),
    "wechat.account.action_resume_sending": Method(MANAGERS, on="account"),
    # Opens an action with its own rights.
    "wechat.account.health.action_open_fix": Method(MANAGERS, on="wechat.account.health"),
    "wechat.bind.batch.action_cancel": Method(USERS, on="batch"),
    "wechat.bind.batch.action_download_list": Method(USERS, on="batch"),
    "wechat.bind.batch.action_download_pictures": Method(USERS, on="batch"),
    "wechat.bind.batch.action_email": Method(USERS, on="batch"),
    "wechat.bind.batch.action_print": Method(USERS, on="batch"),
    # Counts readable records; called on the model.
    "wechat.account.get_overview": Method(USERS, foreign=USERS),
    "wechat.bind.batch.action_retry_failed": Method(USERS, on="batch"),
    "wechat.binding.migration.action_continue": Method(MANAGERS, on="wechat.binding.migration"),
    "wechat.binding.migration.action_open": Method(MANAGERS, on="wechat.binding.migration"),
    "wechat.bind.code.show.action_download": Method(USERS, on="dialog"),
    "wechat.bind.code.show.action_print_card": Method(USERS, on="dialog"),
    "wechat.bind.code.show.action_print_poster": Method(USERS, on="dialog"),
    "wechat.bind.code.show.action_regenerate": Method(USERS, on="dialog"),
    "wechat.bind.request.action_accept": Method(USERS, on="request"),
    "wechat.bind.request.action_reject": Method(USERS, on="request", args=("reason",)),
    "wechat.bind.code.show.action_send": Method(USERS, on="dialog"),
    "wechat.event.action_retry": Method(MANAGERS, on="event"),
    # Opens a document with the rights of the caller.
    "wechat.message.action_open_document": Method(USERS, on="wechat.message"),
    # Returns the address of a file without data.
    "wechat.binding.get_import_templates": Method(ALL_ROLES, foreign=ALL_ROLES),
    "wechat.message.action_ignore": Method(USERS, on="wechat.message"),
    # As in Odoo: only the user's own failures.
    "mail.thread.notify_cancel_by_type": Method(EMPLOYEES, args=("wechat",), foreign=EMPLOYEES),
    # Called on an account that the mock answers for.
    "wechat.account.action_sync_templates": Method(MANAGERS, on="account"),
    "wechat.composer.action_send": Method(USERS, on="composer"),
    "wechat.composer.default_get": Method(USERS, args=(["template_id"],), foreign=USERS),
    "wechat.template.action_create_sidebar_action": Method(MANAGERS, on="template"),
    "wechat.template.action_sync": Method(MANAGERS, on="template"),
    "wechat.template.action_unlink_sidebar_action": Method(MANAGERS, on="template"),
    # As wechat.account.copy_data.
    "wechat.template.copy_data": Method(USERS, on="template"),
    "wechat.template.add.action_add": Method(MANAGERS, on="template_add"),
    # Returns the first readable record of the template's model.
    "wechat.template.preview.default_get": Method(ALL_ROLES, args=(["resource_ref"],), foreign=ALL_ROLES),
    "wechat.template.test.action_send": Method(MANAGERS, on="template_test"),
    "wechat.template.test.default_get": Method(ALL_ROLES, args=(["partner_id"],), foreign=ALL_ROLES),
    "wechat.message.action_cancel": Method(USERS, on="wechat.message"),
    "wechat.message.action_resend": Method(USERS, on="wechat.message"),
    "wechat.template.action_resume": Method(MANAGERS, on="wechat.template"),
    "wechat.unbind.action_replace": Method(MANAGERS, on="unbind_dialog"),
    "wechat.unbind.action_unbind": Method(MANAGERS, on="unbind_dialog"),
}

# === ROUTES === #

OK, REDIRECTED, BAD_REQUEST, FORBIDDEN, NOT_FOUND = 200, 303, 400, 403, 404
TO_LOGIN = "303 to the login"


class Route(NamedTuple):
    """The statuses of a request with a key or record that grants the access, and with a foreign one."""

    allowed: frozenset
    refused: int = NOT_FOUND
    # None: the address holds no key or record, and those in a form or query are ignored.
    foreign: int | None = NOT_FOUND
    answer: int = OK
    # The answer without a login, if it differs.
    anonymous: int | str | None = None

    def get_status(self, role):
        """Return the status for a role with a key or record that grants the access."""
        if role in self.allowed:
            return self.answer
        return self._get_refusal(role, self.refused)

    def get_foreign_status(self, role):
        """Return the status for a role with a foreign key or record."""
        return self.get_status(role) if self.foreign is None else self._get_refusal(role, self.foreign)

    def _get_refusal(self, role, status):
        return self.anonymous if role == PUBLIC and self.anonymous else status


# Every route of the addon. A secret in the address grants access to all roles, also without a login.
ROUTES = {
    "GET /wechat/batch/<int:batch_id>/merchants.xlsx": Route(USERS, anonymous=TO_LOGIN),
    "GET /wechat/batch/<int:batch_id>/pictures.zip": Route(USERS, anonymous=TO_LOGIN),
    # A page in place of a typed command. The link names its record.
    "GET /wechat/<any(digits,unbind):page>/<string:page_token>": Route(ALL_ROLES),
    "POST /wechat/<any(digits,unbind):page>/<string:page_token>": Route(ALL_ROLES),
    "GET /wechat/bind/<string:share_token>": Route(ALL_ROLES),
    "GET /wechat/bind/<string:share_token>/code.png": Route(ALL_ROLES),
    # Returns "unknown" to the page.
    "GET /wechat/bind/<string:share_token>/state": Route(ALL_ROLES, foreign=OK),
    # Concerns the portal user's own merchant. Internal users have none.
    "GET /my/wechat": Route(PORTALS, foreign=None, anonymous=TO_LOGIN),
    "GET /my/wechat/code.png": Route(PORTALS, foreign=None, anonymous=TO_LOGIN),
    "GET /my/wechat/state": Route(PORTALS, foreign=None, anonymous=TO_LOGIN),
    "POST /my/wechat/code": Route(PORTALS, foreign=None, anonymous=TO_LOGIN, answer=REDIRECTED),
    "POST /my/wechat/unbind": Route(PORTALS, foreign=None, anonymous=TO_LOGIN, answer=REDIRECTED),
    # A push also needs a signature.
    "GET /wechat/merchant/<string:webhook_key>": Route(ALL_ROLES, foreign=FORBIDDEN),
    "POST /wechat/merchant/<string:webhook_key>": Route(ALL_ROLES, foreign=FORBIDDEN),
    "GET /wechat/undo/<string:undo_token>": Route(ALL_ROLES),
    # Redirects to the page, which shows nothing for an unknown link.
    "POST /wechat/undo/<string:undo_token>": Route(ALL_ROLES, answer=REDIRECTED, foreign=REDIRECTED),
}

# Odoo's own routes to files of the addon. They answer 404 if they refuse.
DOWNLOADS = {
    "/web/content/wechat.bind.code/{code}/qr_image": Route(USERS),
    "/web/content/wechat.bind.code.show/{dialog}/qr_image": Route(USERS),
}


class Report(NamedTuple):
    """The roles that may print a report. Odoo's route for reports has no check of its own."""

    allowed: frozenset
    # The record of common_rights.py to print it for.
    on: str


# Every report of the addon.
REPORTS = {
    "wechat_merchant_bind.bind_batch_sheet": Report(USERS, on="batch"),
    "wechat_merchant_bind.report_bind_card": Report(USERS, on="code"),
    "wechat_merchant_bind.report_bind_poster": Report(USERS, on="code"),
}

# === FIELDS === #

# Every field that the addon adds to a model of Odoo, with the roles that may read it, search and sort by it.
FIELDS = {
    # Odoo's own rights on server actions: administrators only.
    "ir.actions.server.wechat_template_id": NO_ROLES,
    "mail.message.has_wechat_error": EMPLOYEES,
    "mail.thread.message_has_wechat_error": EMPLOYEES,
    "res.partner.wechat_binding_ids": USERS,
    "res.partner.wechat_can_undo": USERS,
    "res.partner.wechat_message_count": USERS,
    "res.partner.wechat_request_ids": USERS,
    "res.partner.wechat_bind_code_ids": USERS,
    "res.partner.wechat_open_code_id": USERS,
    "res.partner.wechat_last_message_at": USERS,
    "res.partner.wechat_last_message_id": USERS,
    "res.partner.wechat_last_message_state": USERS,
    "res.partner.wechat_openid": MANAGERS,
    "res.partner.wechat_openid_masked": USERS,
    "res.partner.is_wechat_bound": EMPLOYEES,
    "res.partner.wechat_state": EMPLOYEES,
    "res.partner.wechat_refusal": USERS,
    "res.partner.wechat_bound_at": EMPLOYEES,
    "res.partner.is_wechat_merchant": USERS,
    "res.partner.wechat_account_status": USERS,
    "res.partner.wechat_login": USERS,
    "res.partner.wechat_last_login_at": USERS,
    "res.partner.wechat_contact_name": USERS,
    "res.partner.wechat_contact_ids": USERS,
    "res.partner.wechat_code_user_id": USERS,
    "res.partner.wechat_code_generated_at": USERS,
    "res.users.wechat_disabled_partner_id": NO_ROLES,
}

# Every field of the addon's models that is named like a secret or an OpenID, with the roles that may read it. Users
# that generate codes may read their content; a masked OpenID shows its two ends.
SECRETS = {
    "wechat.access.token.token": NO_ROLES,
    "wechat.account.app_secret": MANAGERS,
    "wechat.account.encoding_aes_key": MANAGERS,
    "wechat.account.previous_encoding_aes_key": MANAGERS,
    "wechat.account.last_follower_openid": MANAGERS,
    "wechat.account.webhook_key": MANAGERS,
    "wechat.account.webhook_token": MANAGERS,
    "wechat.account.webhook_url": MANAGERS,
    "wechat.bind.batch.line.scene_str": NO_ROLES,
    "wechat.bind.batch.line.share_url": USERS,
    "wechat.bind.code.qr_content": USERS,
    "wechat.bind.code.qr_image": USERS,
    "wechat.bind.code.scene_str": USERS,
    "wechat.bind.code.share_token": USERS,
    "wechat.bind.code.share_url": USERS,
    "wechat.bind.code.ticket": USERS,
    "wechat.bind.code.show.openid_masked": USERS,
    "wechat.bind.code.show.qr_image": USERS,
    "wechat.bind.code.show.share_url": USERS,
    "wechat.bind.request.openid": MANAGERS,
    "wechat.bind.request.openid_masked": USERS,
    "wechat.binding.openid": MANAGERS,
    "wechat.binding.openid_masked": USERS,
    "wechat.binding.import.line.openid_masked": MANAGERS,
    "wechat.binding.migration.line.openid_masked": MANAGERS,
    "wechat.binding.undo_url": MANAGERS,
    "wechat.event.dedupe_key": MANAGERS,
    "wechat.event.event_key": MANAGERS,
    "wechat.event.openid": MANAGERS,
    "wechat.event.openid_masked": MANAGERS,
    "wechat.event.payload": MANAGERS,
    "wechat.event.signature": MANAGERS,
    "wechat.message.openid": MANAGERS,
    "wechat.message.openid_masked": USERS,
    "wechat.openid.show.openid": MANAGERS,
    "wechat.operation.openid_masked": MANAGERS,
    "wechat.template.line.key": USERS,
    "wechat.unbind.openid_masked": MANAGERS,
}
