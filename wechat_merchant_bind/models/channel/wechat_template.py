import logging
import re
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime, timedelta
from functools import reduce
from itertools import product
from operator import getitem
from typing import NamedTuple
from urllib.parse import urljoin

from markupsafe import Markup
from psycopg2 import OperationalError
from psycopg2.errors import QueryCanceled
from psycopg2.extensions import TRANSACTION_STATUS_INERROR

from odoo import Command, api, fields, models
from odoo.exceptions import AccessError, ConcurrencyError, UserError, ValidationError
from odoo.tools import LazyTranslate, format_amount, html2plaintext
from odoo.tools.rendering_tools import parse_inline_template
from odoo.tools.safe_eval import safe_eval

from ...tools import wechat_keywords
from ...tools.wechat_errors import WechatError
from ..const import DEFAULT_TZ, PREVIEW

_logger = logging.getLogger(__name__)
_lt = LazyTranslate(__name__)

# Fields of the template that hold expressions, beside the values of its lines.
EXPRESSION_FIELDS = ("lang", "url", "miniprogram_path")
# The group that may write expressions which may be harmful.
EDITORS = "mail.group_mail_template_editor"
# The beginning of a link that phones open.
WEB_ADDRESS = re.compile(r"https?://[\w.-]+", re.IGNORECASE)
# Context key: evaluate each expression inside a savepoint.
SAVEPOINTS = "wechat_savepoints"
# Seconds between two checks at WeChat whether a template exists.
LOOK_UP_AGAIN = timedelta(seconds=60)


class Card(NamedTuple):
    """The rendered content of a message."""

    # As wechat.message.card stores it: data, url, miniprogram for WeChat; title and lines for users.
    card: dict
    # The same as plain text.
    body: str
    # Sentences for users: why WeChat would refuse the card, and which values are not shown as they were written.
    errors: list[str]
    cuts: list[str]
    # The failure type of the message if there are errors.
    failure_type: str = "wechat_value"


class BrokenTransactionError(Exception):
    """A query of an expression failed: the transaction accepts no other until a rollback to a savepoint."""


class WechatTemplate(models.Model):
    """A template of an Official Account, and the expressions that fill its keywords from a record of Odoo."""

    _name = "wechat.template"
    _inherit = ["mail.render.mixin", "wechat.suspend.mixin"]
    _description = "WeChat Template"
    _order = "name, id"
    _check_company_auto = True

    # === SELECTIONS === #

    @api.model
    def _selection_preview_model(self):
        # sudo: ir.model - names of models; the user's rights decide which records can be chosen
        return [(model.model, model.name) for model in self.env["ir.model"].sudo().search([])]

    # === FIELDS === #

    name = fields.Char(required=True, translate=True)
    active = fields.Boolean(default=True)
    account_id = fields.Many2one("wechat.account", required=True, ondelete="cascade", check_company=True, index=True)
    company_id = fields.Many2one(related="account_id.company_id", store=True, index="btree_not_null")
    template_uid = fields.Char("Template ID at WeChat", required=True, copy=True)
    title = fields.Char("Title at WeChat", readonly=True)
    content = fields.Text("Content at WeChat", readonly=True)
    example = fields.Text("Example at WeChat", readonly=True)
    is_vanished = fields.Boolean("No Longer at WeChat", readonly=True)
    stop_reason = fields.Text(
        "Stopped because",
        readonly=True,
        copy=False,
        help="WeChat refuses the template: its messages wait until a manager resumes it.",
    )
    model_id = fields.Many2one(
        "ir.model", "Applies to", ondelete="cascade", domain=[("is_mail_thread", "=", True), ("transient", "=", False)]
    )
    model = fields.Char("Model Name", related="model_id.model", store=True, index="btree_not_null")
    line_ids = fields.One2many("wechat.template.line", "template_id", "Keywords", copy=True)
    status = fields.Selection(
        [
            ("ready", "Ready"),
            ("incomplete", "To fill in"),
            ("stopped", "Stopped"),
            ("vanished", "Gone from WeChat"),
        ],
        compute="_compute_status",
        help="To fill in: it has no model, or a keyword without a value.",
    )
    preview_ref = fields.Reference(
        "_selection_preview_model",
        "Shown with",
        compute="_compute_preview_ref",
        readonly=False,
        help="The record that the card is shown with here. Without one it shows WeChat's example.",
    )
    card_preview = fields.Json("Card", compute="_compute_card_preview", exportable=False)
    sidebar_action_id = fields.Many2one("ir.actions.act_window", "Contextual Action", readonly=True, copy=False)
    url = fields.Char("Link", help="Where a touch on the card leads; may hold expressions.")
    miniprogram_appid = fields.Char("Mini Program", help="App ID of the mini program that a touch on the card opens.")
    miniprogram_path = fields.Char("Page of the Mini Program", help="May hold expressions.")
    notify_contacts = fields.Boolean(
        "All Bound Contacts", help="Notify all bound contacts of the merchant, not only the one that is addressed."
    )
    fallback = fields.Selection(
        [("none", "Nothing"), ("email", "E-mail"), ("sms", "SMS")],
        "If not Reachable by WeChat",
        required=True,
        default="none",
    )
    valid_hours = fields.Integer(
        "Valid for", required=True, default=24, help="Hours after which a message that is still waiting is not sent."
    )
    looked_up_at = fields.Datetime(
        "Looked Up on", readonly=True, copy=False, help="When WeChat was last asked whether the template exists."
    )

    # === CONSTRAINTS AND INDEXES === #

    _valid_hours_positive = models.Constraint("CHECK(valid_hours > 0)", "A message is valid for one hour at least.")

    @api.constrains("model_id")
    def _check_model(self):
        """Refuse another model while server actions send the template, also those of archived automation rules."""
        # sudo: ir.actions.server - reads the names of the actions that send the template
        actions_sudo = self.env["ir.actions.server"].sudo().search([("wechat_template_id", "in", self.ids)])
        for template, actions in actions_sudo.grouped("wechat_template_id").items():
            if others := actions.filtered(lambda action, model=template.model_id: action.model_id != model):
                raise ValidationError(
                    self.env._(
                        "The template %(template)s must stay with %(model)s, since these send it:\n%(senders)s\n"
                        "Choose another template there first, or make a copy of this one for the other model.",
                        template=template.name,
                        model=", ".join(others.model_id.mapped("name")),
                        senders="\n".join(
                            " › ".join(filter(None, (action.base_automation_id.name, action.name))) for action in others
                        ),
                    )
                )

    @api.constrains("model_id", "account_id")
    def _check_welcome(self):
        # sudo: wechat.account - the welcome template of any company
        accounts_sudo = self.env["wechat.account"].sudo().with_context(active_test=False)
        accounts_sudo.search([("welcome_template_id", "in", self.ids)])._check_welcome_template()

    # === COMPUTE METHODS === #

    @api.depends("model")
    def _compute_render_model(self):
        for template in self:
            template.render_model = template.model

    @api.depends("is_vanished", "stop_reason", "model_id", "line_ids.key", "line_ids.value")
    def _compute_status(self):
        for template in self:
            if template.is_vanished:
                template.status = "vanished"
            elif template.stop_reason:
                template.status = "stopped"
            else:
                is_complete = template.model_id and not any(line._is_missing() for line in template.line_ids)
                template.status = "ready" if is_complete else "incomplete"

    @api.depends("model_id")
    def _compute_preview_ref(self):
        for template in self:
            record = template.preview_ref
            template.preview_ref = record if record and record._name == template.model else False

    @api.depends(
        "title",
        "example",
        "model_id",
        "preview_ref",
        "line_ids.sequence",
        "line_ids.key",
        "line_ids.label",
        "line_ids.value",
        *EXPRESSION_FIELDS,
        "miniprogram_appid",
    )
    @api.depends_context("lang", "tz", "uid")
    def _compute_card_preview(self):
        for template in self:
            template.card_preview = template._prepare_preview(template.preview_ref)

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        templates = super().create(vals_list)
        templates._check_may_edit(EXPRESSION_FIELDS)
        return templates

    def write(self, vals):
        result = super().write(vals)
        self._check_may_edit(vals.keys() & set(EXPRESSION_FIELDS))
        if "model_id" in vals:
            # sudo: ir.actions.act_window - the action follows the model of its template
            for template in self.sudo().filtered("sidebar_action_id"):
                template.sidebar_action_id.binding_model_id = template.model_id
        return result

    def unlink(self):
        self.env["wechat.message"]._cancel_waiting(
            [("template_id", "in", self.ids)], "wechat_template", self.browse()._get_obstacle()
        )
        # sudo: ir.actions.act_window - the action belongs to the template
        self.sudo().sidebar_action_id.unlink()
        return super().unlink()

    def copy_data(self, default=None):
        vals_list = super().copy_data(default)
        if "name" in (default or {}):
            return vals_list
        return [
            dict(vals, name=self.env._("%s (copy)", template.name))
            for template, vals in zip(self, vals_list, strict=True)
        ]

    # === ACTION METHODS === #

    def action_sync(self):
        """Read the templates of these templates' accounts from WeChat; without templates, those of all accounts.

        :return: a notification with the changes.
        :rtype: dict
        :raise UserError: if no account could be read.
        """
        return (self.account_id or self.env["wechat.account"].search([("active", "=", True)])).action_sync_templates()

    def action_create_sidebar_action(self):
        """Offer the template in the Action menu of its model's records."""
        self.check_access("write")
        for template in self.filtered(lambda template: template.model_id and not template.sidebar_action_id):
            # sudo: ir.actions.act_window - the action opens the composer, which checks the rights
            template.sidebar_action_id = (
                self.env["ir.actions.act_window"].sudo().create(template._prepare_sidebar_action())
            )

    def action_unlink_sidebar_action(self):
        """Remove the template from the Action menu."""
        self.check_access("write")
        # sudo: ir.actions.act_window - as in action_create_sidebar_action
        self.sudo().sidebar_action_id.unlink()

    def action_resume(self):
        """Resume the sending of stopped templates, including the messages that have waited.

        :return: True
        :raise AccessError: if the user is not a WeChat manager.
        """
        self._check_may_resume()
        self.write({"stop_reason": False})
        self._close_manager_activities()
        self.env["wechat.message"]._retry_now([("template_id", "in", self.ids)])
        return True

    # === BUSINESS METHODS - SYNCHRONISATION AND RIGHTS === #

    def _prepare_sidebar_action(self):
        return {
            "name": self.env._("Send WeChat Notice (%s)", self.name),
            "res_model": "wechat.composer",
            "view_mode": "form",
            "target": "new",
            "context": repr({"default_template_id": self.id}),
            "binding_model_id": self.model_id.id,
            "binding_view_types": "list,kanban,form",
            "group_ids": [Command.link(self.env.ref("wechat_merchant_bind.group_user").id)],
        }

    def _update_from_wechat(self, template):
        """Update the template from WeChat. The expressions of its keywords are kept.

        :param dict template: as WeChat returns it.
        """
        self.ensure_one()
        vals = {name: template.get(name) or False for name in ("title", "content", "example")}
        vals["is_vanished"] = False
        changed = {name: value for name, value in vals.items() if self[name] != value}
        lines = {line.key: line for line in self.line_ids}
        commands = []
        for number, (key, label) in enumerate(wechat_keywords.parse_content(vals["content"]), 1):
            line, values = lines.pop(key, None), {"label": label, "sequence": number}
            if not line:
                commands.append(Command.create({"key": key, **values}))
            elif any(line[name] != value for name, value in values.items()):
                commands.append(Command.update(line.id, values))
        if vals["content"]:
            commands += [Command.delete(line.id) for line in lines.values()]
        if changed or commands:
            self.write({**changed, "line_ids": commands})

    def _check_may_edit(self, names):
        """Refuse expressions of users that are no template editors.

        A template is also rendered for users with more rights than its author, and by automations.

        :param names: fields that were written, of EXPRESSION_FIELDS.
        """
        for template, name in product(self, names):
            template._check_expressions(template[name], template.model)

    # === BUSINESS METHODS - RENDERING === #

    def _prepare_cards(self, records, partners=None):
        """Render the template on records, in the language and the time zone of the recipient.

        :param records: of the template's model.
        :param dict[int, res.partner] partners: recipients by record id, of which the first counts; default: those of
            Odoo's _mail_get_partners.
        :return: cards by record id. A card with errors must not be sent.
        :rtype: dict[int, Card]
        :raise UserError: if the template is made for another model.
        """
        self.ensure_one()
        if reason := self._get_model_obstacle(records._name):
            raise UserError(reason)
        recipients = records._mail_get_partners() if partners is None else partners
        cards = self._render(records, {res_id: group[:1] for res_id, group in recipients.items()})
        return {res_id: card for res_id, [(card, _partners)] in cards.items()}

    def _prepare_notices(self, records, recipients):
        """Render the template on records for each recipient, in the language and the time zone of each.

        A template that can't be used makes cards with errors: no document must fail because of a notice.

        :param records: of any model with a chatter.
        :param dict[int, res.partner] recipients: by record id.
        :return: cards with their recipients by record id; the first recipient's card is the first.
        :rtype: dict[int, list[tuple[Card, res.partner]]]
        """
        if reason := self._get_obstacle(records._name):
            title = self.title or self.name or self.env._("WeChat notice")
            card = {"title": title, "lines": [], "data": {}, "url": "", "miniprogram": {}}
            failed = Card(card, title, [reason], [], "wechat_template")
            return {record.id: [(failed, recipients[record.id])] for record in records}
        return self._render(records, recipients)

    def _get_obstacle(self, model=None):
        """Return why this template can't make notices, as a term that is translated when it is read, or None.

        :param str model: the model of the notice; default: the template's.
        :rtype: LazyGettext | None
        """
        if not self:
            return _lt(
                "The notice has no WeChat template, perhaps because it was deleted. Choose one where the notice is "
                "sent, such as in the automation rule."
            )
        if not self.active:
            return _lt(
                "The template %(template)s is archived. Unarchive it, or choose another one where the notice is sent.",
                template=self.name,
            )
        if self.is_vanished:
            return _lt(
                "WeChat does not have the template %(template)s any more. Choose another one.", template=self.name
            )
        return self._get_model_obstacle(model) if model else None

    def _get_model_obstacle(self, model):
        if not self.model or self.model == model:
            return None
        return _lt(
            "The template %(template)s is made for %(model)s.",
            template=self.name,
            model=self.model_id.display_name,
        )

    def _prepare_preview(self, record, lang=None, partner=None):
        """Return the value of the card's widget: the card with its problems; without a record, WeChat's example.

        :param record: of the template's model, or none.
        :param str lang: language of the card; default: as it would be sent.
        :param res.partner partner: the recipient; default: as it would be sent.
        :return: as wechat.message.card, with time, errors and cuts.
        :rtype: dict
        """
        now = fields.Datetime.context_timestamp(self, fields.Datetime.now())
        time = f"{now.month}月{now.day}日 {now:%H:%M}"
        if not record:
            return {**self._prepare_example(), "time": time, "errors": [], "cuts": []}
        template = self.with_context(**{"template_preview_lang": lang, PREVIEW: True})
        card = template._prepare_cards(record, {record.id: partner} if partner else None)[record.id]
        return {**card.card, "time": time, "errors": card.errors, "cuts": card.cuts}

    def _prepare_example(self):
        """Return the card with the values of WeChat's example, matched by their labels."""
        examples = wechat_keywords.parse_example(self.example)
        return {
            "title": self.title or self.name or "",
            "lines": [
                {"label": line.label or line.key, "value": examples.get(line.label, "…")}
                for line in self.line_ids
                if line.key not in wechat_keywords.HIDDEN_KEYS
            ],
            "url": self.url or "",
            "miniprogram": {"appid": self.miniprogram_appid} if self.miniprogram_appid else {},
        }

    def _render(self, records, recipients):
        """Render the template on records, for each language and time zone of their recipients.

        :param records: of the template's model.
        :param dict[int, res.partner] recipients: by record id.
        :return: see _prepare_notices.
        """
        with suppress(BrokenTransactionError), self._savepoint():
            return self._render_localized(records, recipients)
        # Repeated with a savepoint for each expression, which finds the one that fails. A savepoint costs two queries.
        return self.with_context(**{SAVEPOINTS: True})._render_localized(records, recipients)

    def _render_localized(self, records, recipients):
        partners = self.env["res.partner"].union(*recipients.values())
        notices = {}
        for record in records:
            addressed = recipients.get(record.id, partners.browse()).with_prefetch(partners.ids)
            groups = self._group_by_locale(record, addressed)
            notices[record.id] = [
                (self._prepare_card(record.with_context(lang=lang, tz=tz)), group)
                for (lang, tz), group in groups.items()
            ]
        return notices

    def _group_by_locale(self, record, partners):
        """Return the recipients of a record by the language and the time zone of their cards.

        :return: without a recipient, one language and time zone with an empty recordset.
        :rtype: dict[tuple[str, str], res.partner]
        """
        # sudo: res.company, res.partner - time zone and language of records that the user may not read
        company_sudo = record._mail_get_companies(default=record.env.company)[record.id].sudo()
        lang, get_lang = self._render_lang(record), self.env["wechat.account"]._get_lang
        groups = {}
        for partner in partners or [partners]:
            partner_sudo = partner.sudo()
            tz = partner_sudo.tz or company_sudo.partner_id.tz or DEFAULT_TZ
            locale = (get_lang(lang, partner_sudo.lang), tz)
            groups[locale] = groups.get(locale, partners.browse()) + partner
        return groups

    def _render_lang(self, record):
        """Return the language that the template sets for all recipients; none if its expression fails."""
        with suppress(UserError):
            return self.env.context.get("template_preview_lang") or self._evaluate_text(self.lang, record)
        return ""

    def _prepare_card(self, record):
        """Render one card.

        :param record: in the language and the time zone of the card.
        :rtype: Card
        """
        errors, cuts = [], []
        lines = [
            {"key": line.key, "label": line.label or line.key, "value": line._render(record, errors, cuts)}
            for line in self.line_ids
        ]
        card = {
            "title": self.title or self.with_context(lang=record.env.lang).name,
            "lines": [
                {"label": line["label"], "value": line["value"]}
                for line in lines
                if line["key"] not in wechat_keywords.HIDDEN_KEYS
            ],
            "data": {line["key"]: {"value": line["value"]} for line in lines},
            "url": self._render_url(record, errors),
            "miniprogram": self._render_miniprogram(record, errors),
        }
        body = "\n".join([card["title"], *(f"{line['label']}: {line['value']}" for line in lines)])
        return Card(card, body, errors, cuts)

    def _render_url(self, record, errors):
        """Return the address that a touch on the card opens. A path leads to this Odoo."""
        if not self.url:
            return ""
        url = ""
        with self._collect_errors(self.env._("Link"), errors):
            url = self._evaluate_text(self.url, record)
            if url.startswith("/"):
                url = urljoin(record.get_base_url(), url)
            if url and not WEB_ADDRESS.match(url):
                errors.append(self.env._("The link %s is no web address: it must begin with https://.", url))
        return url

    def _render_miniprogram(self, record, errors):
        if not self.miniprogram_appid:
            return {}
        path = ""
        with self._collect_errors(self.env._("Page of the Mini Program"), errors):
            path = self._evaluate_text(self.miniprogram_path, record)
        return {"appid": self.miniprogram_appid, "pagepath": path}

    # === BUSINESS METHODS - FAILURES === #

    @contextmanager
    def _collect_errors(self, keyword, errors):
        """Turn an exception of a part of a card into a sentence, so that only this card fails.

        :param str keyword: the name of the part for users.
        :param list[str] errors: gets the sentence.
        """
        try:
            yield
        except Exception as error:
            self._reraise_database_error(error)
            if not isinstance(error, UserError):
                _logger.warning(
                    "wechat.templates: rendering failed template=%s keyword=%s", self.id, keyword, exc_info=True
                )
            errors.append(self.env._("%(keyword)s: %(error)s", keyword=keyword, error=error))

    @contextmanager
    def _savepoint(self):
        """Run the block inside a savepoint; a failure rolls back the database and the ORM's cache.

        Unlike the cursor's savepoint, it runs no precommit hooks: they would track changes of a document too early.

        :raise BrokenTransactionError: if a query has failed, even if its error was caught.
        """
        self.env.flush_all()
        try:
            with self.env.cr.savepoint(flush=False):
                try:
                    yield
                    self.env.flush_all()
                except Exception as error:
                    self._reraise_database_error(error)
                    raise
                if self._is_transaction_broken():
                    raise BrokenTransactionError
        except Exception:
            if not self.env.context.get(PREVIEW):
                self.env.clear()
            raise

    def _is_transaction_broken(self):
        return self.env.cr.connection.info.transaction_status == TRANSACTION_STATUS_INERROR

    def _reraise_database_error(self, error):
        """Raise errors that no sentence must hide: conflicts, which Odoo repeats, and a broken transaction.

        A query that is wrong, or was canceled because it took too long, is no conflict.

        :param Exception error: the caught exception.
        :raise BrokenTransactionError: if the transaction accepts no other query.
        """
        is_broken = self._is_transaction_broken()
        cause = error
        while cause:
            if isinstance(cause, (OperationalError, ConcurrencyError)) and not isinstance(cause, QueryCanceled):
                raise cause
            # safe_eval wraps most errors in a ValueError. The cause of another error may have been handled.
            has_hidden = is_broken or type(cause) is ValueError
            cause = (cause.__cause__ or cause.__context__) if has_hidden else None
        if is_broken:
            raise BrokenTransactionError from error

    # === BUSINESS METHODS - EXPRESSIONS === #

    def _evaluate(self, source, record):
        """Evaluate an inline template. A single expression keeps the type of its value.

        mail.render.mixin's _render_template is not used: it turns each value into text before the keyword is known, and
        fails for all records if it fails for one.

        :param str source: such as {{ object.name ||| default }}.
        :param record: the object of the expressions, in the language and the time zone of the card.
        :return: a value for wechat_keywords.fit.
        :raise AccessError: if the user may not use such expressions.
        """
        self._check_expressions(source, record._name)
        values = []
        for literal, expression, default in parse_inline_template(source.strip()):
            if literal:
                values.append(literal)
            if expression:
                value = self._evaluate_expression(expression, record)
                values.append(default if wechat_keywords.is_empty(value) else value)
        return values[0] if len(values) == 1 else "".join(map(wechat_keywords.to_text, values))

    def _evaluate_text(self, source, record):
        """Evaluate an inline template to text: see _evaluate."""
        return wechat_keywords.to_text(self._evaluate(source or "", record)).strip()

    @api.model
    def _check_expressions(self, source, model):
        """Refuse an inline template that mail.render.mixin refuses in restricted rendering.

        :raise AccessError: if the user is no template editor and an expression may be harmful.
        """
        if not source or self.env.is_admin() or self.env.user.has_group(EDITORS):
            return
        if self._has_unsafe_expression_template_inline_template(source, model):
            raise AccessError(
                self.env._(
                    "Only members of %(group)s may use expressions such as %(expression)s. Ask one of them, or an "
                    "administrator to add you.",
                    # sudo: res.groups - reads the name of the missing group
                    group=self.env.ref(EDITORS).sudo().name,
                    expression=source,
                )
            )

    def _evaluate_expression(self, expression, record):
        """Evaluate one expression and prepare its value for the card: labels, names, local times.

        :return: see _evaluate.
        :raise UserError: for every error of the expression, so that only this card fails.
        """
        try:
            with self._savepoint() if self.env.context.get(SAVEPOINTS) else nullcontext():
                names = expression.split(".")
                if self._is_field_path(names, record):
                    value, currency = self._read_path(names[1:], record)
                    if currency:
                        formatted = format_amount(record.env, value, currency).replace("\N{NO-BREAK SPACE}", "")
                        text = f"{value:.{currency.decimal_places}f}"
                        return wechat_keywords.Amount(text, value, self._get_unit(currency), formatted)
                else:
                    context = self.with_env(record.env)._render_eval_context()
                    value = safe_eval(expression, {**context, "object": record})
                return self._prepare_value(value, record)
        except Exception as error:
            self._reraise_database_error(error)
            _logger.info(
                "wechat.templates: expression failed template=%s expression=%s", self.id, expression, exc_info=True
            )
            reason = error
            if isinstance(error, BrokenTransactionError):
                reason = error.__cause__ or self.env._("one of its queries failed")
            raise UserError(
                self.env._("The expression %(expression)s failed: %(error)s", expression=expression, error=reason)
            ) from error

    @api.model
    def _prepare_value(self, value, record):
        """Return a value for the card: names of records, plain text of HTML, local times.

        :param record: in the language and the time zone of the card.
        """
        if isinstance(value, models.BaseModel):
            return ", ".join(name for name in value.mapped("display_name") if name)
        if isinstance(value, Markup):
            # html2plaintext keeps comments of several lines, and fails if there is only a comment.
            html = re.sub(r"(?s)<!--.*?(-->|\Z)", "", value)
            return html2plaintext(f"<div>{html}</div>").strip()
        if isinstance(value, datetime) and not value.tzinfo:
            return fields.Datetime.context_timestamp(record, value).replace(tzinfo=None)
        return value

    def _render_eval_context(self):
        """Make the helpers of expressions format times in the time zone of the card, and keep the number of amounts."""
        context = super()._render_eval_context()
        zone = self.env.tz.zone

        def in_zone(format_moment):
            return lambda moment, tz=False, *args, **kwargs: format_moment(moment, tz or zone, *args, **kwargs)

        def format_amount(amount, currency, *args, **kwargs):
            text = context["format_amount"](amount, currency, *args, **kwargs)
            return wechat_keywords.Amount(text, amount, self._get_unit(currency))

        zoned = {name: in_zone(context[name]) for name in ("format_datetime", "format_time")}
        return {**context, **zoned, "format_amount": format_amount}

    @api.model
    def _is_field_path(self, names, record):
        """Tell whether an expression is a path of fields of object, as Odoo's field picker writes it."""
        field = None
        for name in names[1:]:
            model = self.env.get(field.comodel_name) if field else record
            field = model._fields.get(name) if model is not None else None
            if field is None:
                return False
        return names[0] == "object" and field is not None

    @api.model
    def _read_path(self, names, record):
        """Return the value at a path of fields.

        :return: the value (the label of a selection), and the currency of a monetary field or None.
        """
        *path, name = names
        record = reduce(getitem, path, record)
        value, field = record[name], record._fields[name]
        if field.type == "selection" and record:
            value = field.convert_to_export(value, record)
        if field.type == "monetary" and record:
            return value, record[field.get_currency_field(record)] or None
        return value, None

    @api.model
    def _get_record_currency(self, record):
        field = record._fields.get("currency_id")
        is_currency = field and field.comodel_name == "res.currency"
        return self._get_unit((is_currency and record.currency_id) or record.env.company.currency_id)

    @api.model
    def _get_unit(self, currency):
        return wechat_keywords.Currency(currency.name, currency.decimal_places, currency.symbol or "")

    # === BUSINESS METHODS - SUSPENSION === #

    def _is_listed(self):
        """Return whether WeChat lists this template, which it has refused as unknown.

        WeChat is asked once a minute. In between, and without an answer, the template counts as listed.

        :rtype: bool
        """
        self.ensure_one()
        now = fields.Datetime.now()
        if self.looked_up_at and self.looked_up_at > now - LOOK_UP_AGAIN:
            return True
        try:
            listed = self.account_id._call_api("get_all_private_template")
        except (WechatError, UserError) as error:
            _logger.warning("wechat.templates: not looked up template=%s error=%s", self.id, error)
            return True
        self.looked_up_at = now
        return self.template_uid in {template.get("template_id") for template in listed}

    def _suspend(self, reason):
        """Suspend the sending of these templates until a manager resumes it, and schedule an activity for that.

        :param str reason: why, in words.
        """
        for template in self:
            if not template.stop_reason:
                template.stop_reason = reason
                template._schedule_manager_activity(
                    template.env._("WeChat refuses the template: its messages wait"), reason
                )
