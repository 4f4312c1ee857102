import logging
import re
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from markupsafe import Markup

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError
from odoo.tools import html2plaintext
from odoo.tools.rendering_tools import parse_inline_template
from odoo.tools.safe_eval import safe_eval

from ..tools import wechat_keywords
from .wechat_account_sending import DEFAULT_TZ

_logger = logging.getLogger(__name__)


class Card(NamedTuple):
    """What one message says: rendered once, and sent as often as it takes."""

    # As ``wechat.message.card`` stores it: data, url, miniprogram, and for the eye title and lines.
    card: dict
    # The same as plain text.
    body: str
    # Sentences for the user: why WeChat would refuse it, and what was done to make it fit.
    errors: list[str]
    cuts: list[str]


class ExpressionError(UserError):
    """An expression failed on a record."""


class Value(NamedTuple):
    """What an expression gives: something that :func:`wechat_keywords.fit` takes, and the currency of a monetary."""

    value: object
    currency: models.BaseModel | None = None


class WechatTemplate(models.Model):
    """From a template and records to cards."""

    _inherit = "wechat.template"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === BUSINESS METHODS === #

    def _prepare_cards(self, records, partners=None):
        """Render the template on records, in the language and the time zone of whoever gets the card.

        :param records: of the template's model.
        :param dict[int, res.partner] partners: who gets the card of each record; default: the record's first partner by
            Odoo's own ``_mail_get_partners``.
        :return: by id of the record. A card with errors must not be sent.
        :rtype: dict[int, Card]
        :raise UserError: if the template is made for another model.
        """
        self.ensure_one()
        if self.model and self.model != records._name:
            raise UserError(
                self.env._(
                    "The template %(template)s is made for %(model)s.",
                    template=self.name,
                    model=self.model_id.display_name,
                )
            )
        recipients = self._get_recipients(records, partners)
        cards = {}
        for lang, res_ids in self._group_by_lang(records, recipients).items():
            for record in records.browse(res_ids).with_context(lang=lang):
                cards[record.id] = self._prepare_card(record, recipients.get(record.id))
        return cards

    def _prepare_preview(self, record, lang=None, partner=None):
        """Return what the card's widget shows: the card with its problems, or WeChat's example without a record.

        :param record: of the template's model, or nothing.
        :param str lang: of the card; default: as it would be sent.
        :param res.partner partner: who would get it; default: as it would be sent.
        :return: as ``wechat.message.card``, and ``time``, ``errors`` and ``cuts``.
        :rtype: dict
        """
        now = fields.Datetime.context_timestamp(self, fields.Datetime.now())
        time = f"{now.month}月{now.day}日 {now:%H:%M}"
        if not record:
            return {**self._prepare_example(), "time": time, "errors": [], "cuts": []}
        template = self.with_context(template_preview_lang=lang)
        card = template._prepare_cards(record, {record.id: partner} if partner else None)[record.id]
        return {**card.card, "time": time, "errors": card.errors, "cuts": card.cuts}

    def _prepare_example(self):
        """Return the card with WeChat's example, which names the same labels as the content."""
        words = [re.split("[:：]", line, maxsplit=1) for line in (self.example or "").splitlines()]
        examples = {pair[0].strip(): pair[1].strip() for pair in words if len(pair) > 1}
        return {
            "title": self.title or self.name or "",
            "lines": [
                {"label": line.label or line.key, "value": examples.get(line.label, "…")} for line in self.line_ids
            ],
            "url": self.url or "",
            "miniprogram": {"appid": self.miniprogram_appid} if self.miniprogram_appid else {},
        }

    @api.model
    def _get_recipients(self, records, partners=None):
        """Return who gets the card of each record, all of them read together.

        :param dict[int, res.partner] partners: by id of the record, see :meth:`_prepare_cards`.
        :rtype: dict[int, res.partner]
        """
        recipients = records._mail_get_partners() if partners is None else partners
        ids = [partner.id for group in recipients.values() for partner in group[:1]]
        return {res_id: group[:1].with_prefetch(ids) for res_id, group in recipients.items()}

    def _group_by_lang(self, records, recipients):
        """Return the ids of records by the language of their card: the template's, else the recipient's.

        :param dict[int, res.partner] recipients: by id of the record.
        :rtype: dict[str, list[int]]
        """
        if forced := self.env.context.get("template_preview_lang"):
            return {forced: records.ids}
        rendered = {}
        if self.lang:
            # An expression that fails leaves the recipients' own languages.
            with suppress(UserError):
                rendered = self._render_template(self.lang, records._name, records.ids)
        get_lang = self.env["wechat.account"]._get_lang
        groups = {}
        for record in records:
            partner = recipients.get(record.id)
            groups.setdefault(get_lang(rendered.get(record.id), partner and partner.lang), []).append(record.id)
        return groups

    def _prepare_card(self, record, partner):
        """Render one card.

        :param record: in the language of the card.
        :param res.partner | None partner: who gets it.
        :rtype: Card
        """
        timezone = self._get_timezone(record, partner)
        errors, cuts, data, lines = [], [], {}, []
        for line in self.line_ids:
            text = line._render(record, timezone, errors, cuts)
            data[line.key] = {"value": text}
            lines.append({"label": line.label or line.key, "value": text})
        card = {
            "title": self.title or self.name,
            "lines": lines,
            "data": data,
            "url": self._render_url(record, timezone, errors),
            "miniprogram": self._render_miniprogram(record, timezone, errors),
        }
        body = "\n".join([card["title"], *(f"{line['label']}: {line['value']}" for line in lines)])
        return Card(card, body, errors, cuts)

    @api.model
    def _get_timezone(self, record, partner):
        company = record.env.company
        if "company_id" in record._fields and record._fields["company_id"].comodel_name == "res.company":
            company = record.company_id or company
        # sudo: res.company, res.partner - a time zone, of a company that the user may not read
        return (partner and partner.sudo().tz) or company.sudo().partner_id.tz or DEFAULT_TZ

    def _render_url(self, record, timezone, errors):
        """Return the address that a touch on the card opens; one without a host leads to this Odoo."""
        if not self.url:
            return ""
        try:
            url = self._evaluate_text(self.url, record, timezone).strip()
        except (ExpressionError, AccessError) as error:
            errors.append(self.env._("%(keyword)s: %(error)s", keyword=self.env._("Link"), error=error))
            return ""
        if url.startswith("/"):
            url = urljoin(record.get_base_url(), url)
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname):
            errors.append(self.env._("The link %s is no web address: it must begin with https://.", url))
        return url

    def _render_miniprogram(self, record, timezone, errors):
        if not self.miniprogram_appid:
            return {}
        try:
            path = self._evaluate_text(self.miniprogram_path or "", record, timezone).strip()
        except (ExpressionError, AccessError) as error:
            label = self.env._("Page of the Mini Program")
            errors.append(self.env._("%(keyword)s: %(error)s", keyword=label, error=error))
            path = ""
        return {"appid": self.miniprogram_appid, "pagepath": path}

    # === BUSINESS METHODS - EXPRESSIONS === #

    def _evaluate(self, source, record, timezone):
        """Evaluate an inline template without making text of what is one expression alone.

        :param str source: such as ``{{ object.name ||| default }}``.
        :param record: what the expressions call ``object``.
        :param str timezone: that datetimes are told in; None leaves them.
        :rtype: Value
        :raise AccessError: if the user may not render such expressions, as by ``mail.render.mixin``.
        """
        self._check_may_render(source, record._name)
        parts = parse_inline_template(source)
        if len(parts) == 1 and parts[0][1] and not parts[0][0].strip():
            _literal, expression, default = parts[0]
            value = self._evaluate_expression(expression, record, timezone)
            return value if self._has_content(value.value) else Value(default)
        return Value(self._join(parts, record, timezone))

    def _evaluate_text(self, source, record, timezone):
        """Evaluate an inline template to text: see :meth:`_evaluate`.

        :rtype: str
        """
        self._check_may_render(source, record._name)
        return self._join(parse_inline_template(source), record, timezone)

    def _join(self, parts, record, timezone):
        texts = []
        for literal, expression, default in parts:
            texts.append(literal)
            if expression:
                value = self._evaluate_expression(expression, record, timezone)
                texts.append(self._to_text(value) if self._has_content(value.value) else default)
        return "".join(texts)

    @api.model
    def _check_may_render(self, source, model):
        """Refuse what ``mail.render.mixin`` refuses where rendering is restricted.

        Not by its ``_render_template``, which makes text of each value before its keyword is known, and fails for all
        records if one fails.

        :raise AccessError: if the user is no template editor and the expressions aren't harmless.
        """
        if self._is_template_editor() or not self._has_unsafe_expression_template_inline_template(source, model):
            return
        raise AccessError(
            self.env._(
                "Only members of %(group)s may use templates with expressions such as %(expression)s.",
                # sudo: res.groups - the name of the group that the user misses
                group=self.env.ref("mail.group_mail_template_editor").sudo().name,
                expression=source,
            )
        )

    @api.model
    def _is_template_editor(self):
        return self.env.is_admin() or self.env.user.has_group("mail.group_mail_template_editor")

    def _evaluate_expression(self, expression, record, timezone):
        """Evaluate one expression and prepare its value for people: labels, names, the reader's clock.

        :rtype: Value
        :raise ExpressionError: whatever the expression raises; it shall fail this card and no other.
        """
        names = expression.split(".")
        currency = None
        try:
            if self._is_field_path(names, record):
                value, currency = self._read_path(names[1:], record)
            else:
                template = self.with_env(record.env)
                value = safe_eval(expression, {**template._render_eval_context(), "object": record})
        except Exception as error:
            _logger.info(
                "wechat.templates: expression failed template=%s expression=%s", self.id, expression, exc_info=True
            )
            raise ExpressionError(
                self.env._("The expression %(expression)s failed: %(error)s", expression=expression, error=error)
            ) from error
        if isinstance(value, models.BaseModel):
            value = ", ".join(name for name in value.mapped("display_name") if name)
        elif isinstance(value, Markup):
            value = html2plaintext(value).strip()
        elif isinstance(value, datetime) and timezone:
            value = fields.Datetime.context_timestamp(record.with_context(tz=timezone), value).replace(tzinfo=None)
        return Value(value, currency)

    @api.model
    def _is_field_path(self, names, record):
        """Tell whether an expression is what Odoo's field picker writes: ``object``, and fields."""
        field = None
        for name in names[1:]:
            model = self.env.get(field.comodel_name) if field else record
            field = model._fields.get(name) if model is not None else None
            if field is None:
                return False
        return names[0] == "object" and field is not None

    @api.model
    def _read_path(self, names, record):
        """Follow a path of fields. What the last one is tells how to write its value.

        :return: the value (of a selection its label), and of a monetary its currency.
        """
        for name in names[:-1]:
            record = record[name]
        value = record[names[-1]]
        field = record._fields[names[-1]]
        if field.type == "selection" and record:
            value = field.convert_to_export(value, record)
        if field.type == "monetary" and record:
            return value, record[field.get_currency_field(record)] or None
        return value, None

    @api.model
    def _get_record_currency(self, record):
        field = record._fields.get("currency_id")
        is_currency = field and field.comodel_name == "res.currency"
        return (is_currency and record.currency_id) or record.env.company.currency_id

    @api.model
    def _has_content(self, value):
        # Zero is worth telling, and equal to False.
        return value is not None and value is not False and value != ""

    @api.model
    def _to_text(self, value):
        if value.currency:
            return f"{value.value:.{value.currency.decimal_places}f}"
        return wechat_keywords.to_text(value.value)
