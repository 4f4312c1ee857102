import time
from datetime import datetime, timezone
from functools import partial

from odoo import api, models
from odoo.exceptions import AccessError, UserError
from odoo.models import fix_import_export_id_paths
from odoo.tools import clean_context

from ..tools.loaded_rows import LoadedRow, LoadedRows
from ..tools.wechat_api import USER_INFO_BATCH
from ..tools.wechat_errors import UNKNOWN_OPENID, WechatError
from .res_partner import GROUP_MANAGER
from .wechat_event import OPENID

# The columns that an import may have. All else follows from them.
IMPORT_FIELDS = ("partner_id", "openid", "account_id")
REQUIRED_FIELDS = ("partner_id", "openid")
# Rows that a notice names.
NUMBERS_SHOWN = 20


class WechatBinding(models.Model):
    """How bindings from another system get in: through Odoo's import, by a manager, on WeChat's word."""

    _inherit = "wechat.binding"

    # === CRUD METHODS === #

    @api.model
    def load(self, fields, data):
        """Import OpenIDs, as the only way besides a scan in which a binding comes about.

        Each row is checked as a scan is, and then by WeChat, before anything is written. It never takes a merchant or
        an OpenID over. A report tells what became of each row.

        :param list[str] fields: the columns: the merchant, its OpenID and, if it isn't the one that serves the merchant
            anyway, the Official Account.
        :param list[list[str]] data: the rows.
        :return: what Odoo's import expects, ``wechat_notices`` (what the user should know besides) and
            ``wechat_report`` (the action that opens the report).
        :rtype: dict
        :raise AccessError: if the user is not a WeChat manager.
        """
        if not self.env.su and not self.env.user.has_group(GROUP_MANAGER):
            raise AccessError(self.env._("Only WeChat managers may import bindings."))
        if reason := self._get_wrong_columns(fields):
            return {"ids": False, "messages": [{"type": "error", "message": reason}], "nextrow": 0}
        load = self.env.context.get("wechat_file")
        # Whoever calls by RPC can put no object of this class there.
        load = load if isinstance(load, LoadedRows) else LoadedRows()
        context = {
            # Defaults of the caller's would forge what is to follow from the row.
            **clean_context(self.env.context),
            "wechat_loaded_rows": load,
            "mode": "init",
            # No merchant comes about by a slip of the pen, and no row is passed over in silence.
            "name_create_enabled_fields": {},
            "import_set_empty_fields": [],
            "import_skip_records": [],
        }
        result = super(WechatBinding, self.with_env(self.env(context=context))).load(fields, data)
        if result["ids"] is False and not load.is_refused:
            load.take_write_errors(result["messages"])
        limit = self.env.context.get("_import_limit") or len(data)
        result["nextrow"] = limit if not load.is_refused and len(data) > limit else 0
        report = self.env["wechat.binding.import"]._record(load)
        result["wechat_notices"] = self._get_import_notices(load)
        result["wechat_report"] = report._get_action()
        return result

    @api.model
    def _convert_records(self, records, *, log=lambda a: None, savepoint):
        load = self.env.context.get("wechat_loaded_rows")
        if not load:
            return super()._convert_records(records, log=log, savepoint=savepoint)
        load.log = log
        records = list(records)
        for index, (values, _extras) in enumerate(records):
            merchant = " ".join(str(value) for value in next(iter(values["partner_id"]), {}).values())
            load.rows[index] = LoadedRow(merchant, (values["openid"] or "").strip())
        converted = list(super()._convert_records(records, log=partial(self._take_message, load), savepoint=savepoint))
        for index, (_id, _xid, values, _info) in enumerate(converted):
            load.rows[index].partner = self.env["res.partner"].browse(values.get("partner_id") or [])
            load.rows[index].account = self.env["wechat.account"].browse(values.get("account_id") or [])
        self._check_rows(load)
        if load.is_refused:
            return []
        return [
            (False, False, self._prepare_imported_values(load.rows[index]), info)
            for index, (_id, _xid, _values, info) in enumerate(converted)
            if load.rows[index].result in ("imported", "unfollowed")
        ]

    def _load_records_create(self, vals_list):
        if not self.env.context.get("wechat_loaded_rows"):
            return super()._load_records_create(vals_list)
        # sudo: wechat.binding - nobody creates bindings directly; the right to import and every row were checked
        bindings_sudo = self.sudo().create(vals_list)
        bindings_sudo._log_import()
        return bindings_sudo.sudo(False)

    # === ACTION METHODS === #

    @api.model
    def get_import_templates(self):
        """Return the file to fill in that the import screen offers, in the user's language.

        :rtype: list[dict]
        """
        language = "zh_CN" if (self.env.lang or "").startswith("zh") else "en"
        return [
            {
                "label": self.env._("Template for the Import of Bindings"),
                "template": f"/wechat_merchant_bind/static/xlsx/bindings_{language}.xlsx",
            }
        ]

    # === BUSINESS METHODS - CHECKS === #

    @api.model
    def _get_wrong_columns(self, fields):
        """Return what is wrong with the columns of an import, in words, or None."""
        names = [fix_import_export_id_paths(name)[0] for name in fields]
        if foreign := [name for name in names if name not in IMPORT_FIELDS]:
            return self.env._(
                "Only merchants, their OpenIDs and the Official Account can be imported, and existing bindings can't "
                "be changed. You are not allowed to import these columns: %s.",
                ", ".join(foreign),
            )
        if any(name not in names for name in REQUIRED_FIELDS):
            return self.env._("The file needs a column with the merchants and one with their OpenIDs.")
        return None

    @api.model
    def _take_message(self, load, message):
        """Take what Odoo says about a row while it reads it. Nothing is a mere warning.

        :param LoadedRows load: the rows.
        :param dict message: a message of Odoo's import. Where it names a value, the screen shows it at the column.
        """
        index, reason = message.pop("record"), message.pop("message")
        if message["type"] == "warning":
            # Odoo would take the first of those that have this name.
            reason += ". " + self.env._("Nobody can guess which one is meant: give its database ID instead.")
            message = {}
        load.refuse(index, reason, **message)

    @api.model
    def _check_rows(self, load):
        """Check the rows as a scan is checked, then by WeChat, and note what will become of each.

        :param LoadedRows load: the rows, as Odoo has read them.
        """
        accounts = {}
        for index, row in load.get_open().items():
            if obstacle := self._get_row_obstacle(row, accounts):
                load.refuse(index, obstacle)
        self._check_rows_unique(load)
        self._check_rows_unbound(load)
        self._ask_about_rows(load)

    @api.model
    def _get_row_obstacle(self, row, accounts):
        """Return why a row can't be imported, as far as the row itself tells, and choose its account if it names none.

        :param LoadedRow row: the row.
        :param dict accounts: by company, the accounts that were chosen before.
        :return: the reason, in words, or None.
        :rtype: str | None
        """
        if not row.partner or not row.openid:
            return self.env._("A binding needs a merchant and an OpenID.")
        if not row.partner._filtered_access("read"):
            return self.env._("There is no merchant %s that you may see.", row.merchant)
        if row.partner._wechat_get_bind_obstacle() == "disabled":
            return self.env._("%s is disabled. Enable it before you import its OpenID.", row.partner.display_name)
        if not OPENID.fullmatch(row.openid):
            return self.env._(
                "“%(openid)s” of %(merchant)s is no OpenID: those have only letters, digits, - and _.",
                openid=row.openid[:50],
                merchant=row.partner.display_name,
            )
        try:
            self._choose_row_account(row, accounts)
        except UserError as error:
            return str(error)
        return None

    @api.model
    def _choose_row_account(self, row, accounts):
        """Find the account of a row: the one that it names, else the one that issues the merchant's codes.

        :raise UserError: if there is none, or it is another company's; in words.
        """
        company = row.partner.company_id
        if not row.account:
            if company not in accounts:
                accounts[company] = self.env["wechat.account"]._get_for_partner(row.partner)
            row.account = accounts[company]
        elif not row.account._filtered_access("read") or not row.account.active:
            raise UserError(self.env._("There is no such Official Account, or it is archived."))
        self.env["wechat.account"]._check_same_company(
            self.new({"partner_id": row.partner.id, "account_id": row.account.id})
        )

    @api.model
    def _check_rows_unique(self, load):
        """Refuse what names a merchant or an OpenID a second time."""
        first = {}
        for index, row in load.get_open().items():
            number = load.number(first.setdefault(row.partner, index))
            if number != load.number(index):
                reason = self.env._(
                    "%(merchant)s stands in row %(number)s already.", merchant=row.partner.display_name, number=number
                )
                load.refuse(index, reason)
                continue
            number = load.number(first.setdefault((row.account, row.openid), index))
            if number != load.number(index):
                reason = self.env._(
                    "The OpenID %(openid)s of %(merchant)s stands in row %(number)s already.",
                    openid=self._mask(row),
                    merchant=row.partner.display_name,
                    number=number,
                )
                load.refuse(index, reason)

    @api.model
    def _check_rows_unbound(self, load):
        """Refuse what would take a merchant or an OpenID over, and leave alone what is bound already."""
        rows = load.get_open()
        # sudo: wechat.binding - a binding that the user may not see is not taken over either
        bindings_sudo = self.sudo().search(
            [
                ("state", "=", "bound"),
                "|",
                ("partner_id", "in", [row.partner.id for row in rows.values()]),
                ("openid", "in", [row.openid for row in rows.values()]),
            ]
        )
        by_partner = {binding.partner_id.id: binding for binding in bindings_sudo}
        by_openid = {(binding.account_id.id, binding.openid): binding for binding in bindings_sudo}
        for index, row in rows.items():
            partner_binding = by_partner.get(row.partner.id)
            openid_binding = by_openid.get((row.account.id, row.openid))
            if not partner_binding and not openid_binding:
                continue
            if partner_binding == openid_binding:
                row.result = "unchanged"
                row.reason = self.env._("The merchant is bound to this very OpenID.")
            elif partner_binding:
                reason = self.env._(
                    "%(merchant)s is already bound to another OpenID (%(openid)s). Unbind it before you import.",
                    merchant=row.partner.display_name,
                    openid=partner_binding.openid_masked,
                )
                load.refuse(index, reason)
            else:
                owner = openid_binding.partner_id.sudo(False)._filtered_access("read")
                reason = self.env._(
                    "The OpenID %(openid)s is already bound to %(merchant)s. Unbind it there before you import.",
                    openid=self._mask(row),
                    merchant=owner.display_name if owner else self.env._("a merchant that you may not see"),
                )
                load.refuse(index, reason)

    # === BUSINESS METHODS - WECHAT === #

    @api.model
    def _ask_about_rows(self, load):
        """Ask WeChat who follows. Nothing is imported on less than its word."""
        by_account = {}
        for index, row in load.get_open().items():
            by_account.setdefault(row.account, {})[row.openid] = index
        for account, indexes in by_account.items():
            try:
                users = self._ask_about_openids(account, list(indexes))
            except WechatError as error:
                reason = self.env._("WeChat could not be asked about the OpenIDs, so nothing is imported.")
                load.fail(f"{reason}\n{account._get_error_message(error)}")
                return
            for openid, index in indexes.items():
                row = load.rows[index]
                if openid in users:
                    row.user = users[openid]
                    row.result = "imported" if row.user["subscribe"] else "unfollowed"
                else:
                    reason = self.env._(
                        "%(account)s doesn't know the OpenID %(openid)s of %(merchant)s. Perhaps it is one of another "
                        "Official Account or of a mini program: each has its own.",
                        account=account.display_name,
                        openid=self._mask(row),
                        merchant=row.partner.display_name,
                    )
                    load.refuse(index, reason)

    @api.model
    def _ask_about_openids(self, account, openids):
        """Return what WeChat tells about OpenIDs of an account.

        :param list[str] openids: any number.
        :return: by OpenID, without those that WeChat doesn't know.
        :rtype: dict[str, dict]
        :raise WechatError: if WeChat refuses for another reason, or can't be reached.
        """
        users = {}
        for start in range(0, len(openids), USER_INFO_BATCH):
            batch = openids[start : start + USER_INFO_BATCH]
            try:
                users |= account._call_api("batchget_user_info", batch)
            except WechatError as error:
                if error.errcode not in UNKNOWN_OPENID:
                    raise
                # One of them is unknown, and WeChat doesn't say which.
                users |= self._ask_one_by_one(account, batch)
        return users

    @api.model
    def _ask_one_by_one(self, account, openids):
        users = {}
        for openid in openids:
            try:
                users[openid] = account._call_api("user_info", openid)
            except WechatError as error:
                if error.errcode not in UNKNOWN_OPENID:
                    raise
        return users

    # === BUSINESS METHODS - WRITING === #

    @api.model
    def _prepare_imported_values(self, row):
        """Return the values of the binding of a row.

        :param LoadedRow row: a row that WeChat was asked about.
        :rtype: dict
        """
        follows = row.result == "imported"
        # The last known change: what WeChat pushes about a later one counts.
        since = (follows and row.user.get("subscribe_time")) or time.time()
        return {
            "partner_id": row.partner.id,
            "account_id": row.account.id,
            "openid": row.openid,
            "source": "import",
            "is_subscribed": follows,
            "last_event_at": datetime.fromtimestamp(since, timezone.utc).replace(tzinfo=None),
        }

    def _log_import(self):
        """Record the import of these bindings, and end the codes that would bind the merchants a second time."""
        notes = {}
        for binding in self:
            notes[binding.id] = self.env._("The OpenID %s was imported.", binding.openid_masked)
            if not binding.is_subscribed:
                notes[binding.id] += "\n" + self.env._(
                    "The merchant doesn't follow the WeChat account. No message reaches it until it does."
                )
        self.env["wechat.operation"]._log("import", self, notes)
        self.env["wechat.bind.code"].search(
            [("partner_id", "in", self.partner_id.ids), ("state", "=", "active")]
        )._revoke(self.env._("The merchant's OpenID was imported."))
        self.partner_id._wechat_notify_changed()

    @api.model
    def _get_import_notices(self, load):
        """Return what the user should know about rows that are no errors.

        :param LoadedRows load: the rows.
        :rtype: list[str]
        """
        notices = []
        if numbers := load.get_numbers("unfollowed"):
            notices.append(
                self.env._(
                    "%(count)s merchants don't follow the Official Account (rows %(rows)s). They become bound as "
                    "unfollowed: no message reaches them until they follow.",
                    count=len(numbers),
                    rows=self._shorten_numbers(numbers),
                )
            )
        if numbers := load.get_numbers("unchanged"):
            notices.append(
                self.env._(
                    "%(count)s merchants are bound to the same OpenID already (rows %(rows)s). Nothing changes for "
                    "them.",
                    count=len(numbers),
                    rows=self._shorten_numbers(numbers),
                )
            )
        return notices

    @api.model
    def _mask(self, row):
        return self.env["wechat.operation"]._mask_openid(row.openid)

    @api.model
    def _shorten_numbers(self, numbers):
        return ", ".join(map(str, numbers[:NUMBERS_SHOWN])) + (" …" if len(numbers) > NUMBERS_SHOWN else "")
