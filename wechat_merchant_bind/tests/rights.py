"""Who may do what: the one table of all rights, which test_rights.py plays as the user of each cell.

What is not in the table fails the test, and so does a row of something that is gone. To add a model, a method, a route
or a field: add its row here, and in ``common_rights.py`` the record or address that the cell is played with.
"""

from typing import NamedTuple

PUBLIC, PORTAL, EMPLOYEE, USER, MANAGER = ROLES = ("public", "portal", "employee", "user", "manager")

NOBODY = frozenset()
PORTALS = frozenset({PORTAL})
MANAGERS = frozenset({MANAGER})
USERS = frozenset({USER, MANAGER})
EMPLOYEES = frozenset({EMPLOYEE, USER, MANAGER})
EVERYBODY = frozenset(ROLES)

# === MODELS === #


class Model(NamedTuple):
    """Who may do what with the records of a model. Everybody else is refused by an AccessError."""

    # Also searches and exports.
    read: frozenset = NOBODY
    # Also imports.
    create: frozenset = NOBODY
    write: frozenset = NOBODY
    unlink: frozenset = NOBODY


# Bindings, codes, batches, events and the log are written by methods only, which check the right and then write as the
# superuser. Dialogs are written by those who may do what the dialog does.
MODELS = {
    "wechat.account": Model(read=USERS, create=MANAGERS, write=MANAGERS, unlink=MANAGERS),
    "wechat.account.health": Model(read=MANAGERS),
    "wechat.access.token": Model(),
    "wechat.bind.code": Model(read=USERS),
    "wechat.bind.request": Model(read=USERS),
    "wechat.binding": Model(read=USERS),
    # Created by an import alone, as TestForgery and TestBindingImport prove.
    "wechat.binding.import": Model(read=MANAGERS),
    "wechat.binding.import.line": Model(read=MANAGERS),
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

# What the addon adds to an abstract model is in all that inherit it. It has one row, played with one of them.
INSTANCES = {"mail.thread": "res.partner"}

# === METHODS === #


class Method(NamedTuple):
    """Who may call a method by RPC. Everybody else is refused by an AccessError."""

    allowed: frozenset
    # The record of common_rights.py that it is called on; without one it is a method of the model.
    on: str | None = None
    args: tuple = ()
    # Who gets through with the other company's record of that name.
    foreign: frozenset = NOBODY


FORGERY = {
    "is_wechat_bound": True,
    "wechat_bound_at": "2026-01-01 00:00:00",
    "wechat_openid": "oForged",
    "wechat_state": "bound",
}

# Every public method that the addon defines, on its own models and on Odoo's.
METHODS = {
    "res.partner.create": Method(NOBODY, args=([{"name": "x", **FORGERY}],)),
    "res.partner.write": Method(NOBODY, on="merchant", args=(FORGERY,)),
    # As Odoo's, without what would forge a binding.
    "res.partner.default_get": Method(EVERYBODY, args=(["name", "wechat_openid"],), foreign=EVERYBODY),
    "res.partner.action_wechat_bind_code": Method(USERS, on="merchant"),
    # And who generated the code that bound the merchant, see test_undo.py.
    "res.partner.action_wechat_undo_bind": Method(MANAGERS, on="bound_merchant"),
    "res.partner.action_wechat_print_cards": Method(USERS, on="invited_merchant"),
    "res.partner.action_wechat_print_posters": Method(USERS, on="invited_merchant"),
    "res.partner.action_wechat_send_code": Method(USERS, on="invited_merchant"),
    "res.partner.action_wechat_disable": Method(USERS, on="merchant"),
    "res.partner.action_wechat_edit": Method(EMPLOYEES, on="merchant"),
    "res.partner.action_wechat_enable": Method(USERS, on="merchant"),
    # Opens the dialog to unbind: see there.
    "res.partner.action_wechat_replace": Method(EVERYBODY, on="bound_merchant", foreign=EVERYBODY),
    "res.partner.action_wechat_reveal_openid": Method(MANAGERS, on="bound_merchant"),
    "res.partner.action_wechat_unbind": Method(MANAGERS, on="bound_merchant", args=("reason",)),
    # Only opens a dialog, and tells nothing: whoever may not unbind may not create that dialog's record.
    "res.partner.action_wechat_unbind_dialog": Method(EVERYBODY, on="bound_merchant", foreign=EVERYBODY),
    # Opens a list, which shows nobody more than he may read.
    "res.partner.action_wechat_messages": Method(EVERYBODY, on="merchant", foreign=EVERYBODY),
    "res.partner.action_wechat_view": Method(EMPLOYEES, on="merchant"),
    # What is recorded about these is Odoo's to allow.
    "ir.config_parameter.create": Method(NOBODY, args=([{"key": "wechat_merchant_bind.x", "value": "x"}],)),
    "ir.config_parameter.write": Method(NOBODY, on="parameter", args=({"value": "x"},)),
    "res.groups.write": Method(NOBODY, on="group", args=({"name": "x"},)),
    # Odoo's own right, which only administrators have.
    "mail.mail.mark_outgoing": Method(NOBODY, on="email"),
    "mail.mail.cancel": Method(NOBODY, on="email"),
    "res.users.create": Method(NOBODY, args=([{"name": "x", "login": "x"}],)),
    "res.users.write": Method(NOBODY, on="other_user", args=({"group_ids": []},)),
    # Odoo decides who may write these; what a body must not keep is looked for before that.
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
    "mail.scheduled.message.write": Method(NOBODY, on="scheduled_message", args=({"body": "x"},)),
    "mail.template.create": Method(EMPLOYEES, args=([{"name": "x"}],), foreign=EMPLOYEES),
    "mail.template.write": Method(NOBODY, on="mail_template", args=({"name": "x"},)),
    # A file of bindings. The temporary file itself is guarded as Odoo guards it.
    "base_import.import.execute_import": Method(
        MANAGERS,
        on="import_screen",
        args=(["openid"], ["OpenID"], {"quoting": '"', "separator": ",", "encoding": "utf-8"}),
        foreign=MANAGERS,
    ),
    # The columns of a file, without data.
    "base_import.import.get_fields_tree": Method(EVERYBODY, args=("wechat.bind.batch",), foreign=EVERYBODY),
    "wechat.account.action_generate_secrets": Method(MANAGERS, on="account"),
    "wechat.account.action_test_connection": Method(MANAGERS, on="account"),
    # Returns what they may read anyway, without the secrets.
    "wechat.account.copy_data": Method(USERS, on="account"),
    "wechat.account.action_confirm_outbox": Method(MANAGERS, on="account"),
    "wechat.account.action_resume_sending": Method(MANAGERS, on="account"),
    # Opens what they may do anyway.
    "wechat.account.health.action_mend": Method(MANAGERS, on="wechat.account.health"),
    "wechat.bind.batch.action_cancel": Method(USERS, on="batch"),
    "wechat.bind.batch.action_download_list": Method(USERS, on="batch"),
    "wechat.bind.batch.action_download_pictures": Method(USERS, on="batch"),
    "wechat.bind.batch.action_email": Method(USERS, on="batch"),
    "wechat.bind.batch.action_print": Method(USERS, on="batch"),
    # Counts what its user may read; there is no record to call it on.
    "wechat.account.get_overview": Method(USERS, foreign=USERS),
    "wechat.bind.batch.action_retry_failed": Method(USERS, on="batch"),
    "wechat.bind.code.show.action_download": Method(USERS, on="dialog"),
    "wechat.bind.code.show.action_print_card": Method(USERS, on="dialog"),
    "wechat.bind.code.show.action_print_poster": Method(USERS, on="dialog"),
    "wechat.bind.code.show.action_regenerate": Method(USERS, on="dialog"),
    "wechat.bind.request.action_accept": Method(USERS, on="request"),
    "wechat.bind.request.action_reject": Method(USERS, on="request", args=("reason",)),
    "wechat.bind.code.show.action_send": Method(USERS, on="dialog"),
    "wechat.event.action_retry": Method(MANAGERS, on="event"),
    # Opens a document with the rights of who opens it.
    "wechat.message.action_open_document": Method(USERS, on="wechat.message"),
    # The address of a file without data.
    "wechat.binding.get_import_templates": Method(EVERYBODY, foreign=EVERYBODY),
    "wechat.message.action_ignore": Method(USERS, on="wechat.message"),
    # As Odoo's: only the user's own failures.
    "mail.thread.notify_cancel_by_type": Method(EMPLOYEES, args=("wechat",), foreign=EMPLOYEES),
    # Of an account that WeChat answers for in the tests.
    "wechat.account.action_sync_templates": Method(MANAGERS, on="account"),
    "wechat.composer.action_send": Method(USERS, on="composer"),
    "wechat.composer.default_get": Method(USERS, args=(["template_id"],), foreign=USERS),
    "wechat.template.action_create_sidebar_action": Method(MANAGERS, on="template"),
    "wechat.template.action_sync": Method(MANAGERS, on="template"),
    "wechat.template.action_unlink_sidebar_action": Method(MANAGERS, on="template"),
    # As wechat.account.copy_data.
    "wechat.template.copy_data": Method(USERS, on="template"),
    "wechat.template.add.action_add": Method(MANAGERS, on="template_add"),
    # The first record of the template's model that the user may read.
    "wechat.template.preview.default_get": Method(EVERYBODY, args=(["resource_ref"],), foreign=EVERYBODY),
    "wechat.template.test.action_send": Method(MANAGERS, on="template_test"),
    "wechat.template.test.default_get": Method(EVERYBODY, args=(["partner_id"],), foreign=EVERYBODY),
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
    """What a request is answered with: with the key or record that grants the access, and with a foreign one."""

    allowed: frozenset
    refused: int = NOT_FOUND
    # None: the address holds nothing to tell own from foreign, so what a form or query says of others is ignored.
    foreign: int | None = NOT_FOUND
    answer: int = OK
    # What those are answered who have not logged in, if it is something else.
    anonymous: int | str | None = None

    def get_status(self, role):
        """Return the status that a role gets with what grants the access."""
        if role in self.allowed:
            return self.answer
        return self._get_refusal(role, self.refused)

    def get_foreign_status(self, role):
        """Return the status that a role gets with what grants the access to something else."""
        return self.get_status(role) if self.foreign is None else self._get_refusal(role, self.foreign)

    def _get_refusal(self, role, status):
        return self.anonymous if role == PUBLIC and self.anonymous else status


# Every route of the addon. What a secret in the address opens is open to all who have it, logged in or not.
ROUTES = {
    "GET /wechat/batch/<int:batch_id>/merchants.xlsx": Route(USERS, anonymous=TO_LOGIN),
    "GET /wechat/batch/<int:batch_id>/pictures.zip": Route(USERS, anonymous=TO_LOGIN),
    "GET /wechat/bind/<string:share_token>": Route(EVERYBODY),
    "GET /wechat/bind/<string:share_token>/code.png": Route(EVERYBODY),
    # Says "unknown", which is what the page shows.
    "GET /wechat/bind/<string:share_token>/state": Route(EVERYBODY, foreign=OK),
    # A portal user's own merchant; internal users are nobody's merchant.
    "GET /my/wechat": Route(PORTALS, foreign=None, anonymous=TO_LOGIN),
    "GET /my/wechat/code.png": Route(PORTALS, foreign=None, anonymous=TO_LOGIN),
    "GET /my/wechat/state": Route(PORTALS, foreign=None, anonymous=TO_LOGIN),
    "POST /my/wechat/code": Route(PORTALS, foreign=None, anonymous=TO_LOGIN, answer=REDIRECTED),
    "POST /my/wechat/unbind": Route(PORTALS, foreign=None, anonymous=TO_LOGIN, answer=REDIRECTED),
    # A push needs a signature besides the key.
    "GET /wechat/merchant/<string:webhook_key>": Route(EVERYBODY, foreign=FORBIDDEN),
    "POST /wechat/merchant/<string:webhook_key>": Route(EVERYBODY, foreign=FORBIDDEN),
    "GET /wechat/undo/<string:undo_token>": Route(EVERYBODY),
    # Leads back to the page, which knows no binding of an unknown link.
    "POST /wechat/undo/<string:undo_token>": Route(EVERYBODY, answer=REDIRECTED, foreign=REDIRECTED),
}

# Odoo's own routes to what the addon keeps. They hide what they refuse.
DOWNLOADS = {
    "/web/content/wechat.bind.code/{code}/qr_image": Route(USERS),
    "/web/content/wechat.bind.code.show/{dialog}/qr_image": Route(USERS),
}


class Report(NamedTuple):
    """Who may have a report drawn, by the address that draws any report. It asks nothing by itself."""

    allowed: frozenset
    # The record of common_rights.py that it is about.
    on: str


# Every report of the addon.
REPORTS = {
    "wechat_merchant_bind.bind_batch_sheet": Report(USERS, on="batch"),
    "wechat_merchant_bind.report_bind_card": Report(USERS, on="code"),
    "wechat_merchant_bind.report_bind_poster": Report(USERS, on="code"),
}

# === FIELDS === #

# Every field that the addon adds to a model of Odoo, and who may read it, search by it and sort by it.
FIELDS = {
    # Odoo's own rights on server actions: administrators alone.
    "ir.actions.server.wechat_template_id": NOBODY,
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
    "res.users.wechat_disabled_partner_id": NOBODY,
}

# Every field of the addon's models whose name sounds like a secret or like an OpenID, and who may read it. Whoever
# makes a code gets to know what is in it; a masked OpenID shows its two ends.
SECRETS = {
    "wechat.access.token.token": NOBODY,
    "wechat.account.app_secret": MANAGERS,
    "wechat.account.encoding_aes_key": MANAGERS,
    "wechat.account.previous_encoding_aes_key": MANAGERS,
    "wechat.account.last_follower_openid": MANAGERS,
    "wechat.account.webhook_key": MANAGERS,
    "wechat.account.webhook_token": MANAGERS,
    "wechat.account.webhook_url": MANAGERS,
    "wechat.bind.batch.line.scene_str": NOBODY,
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
