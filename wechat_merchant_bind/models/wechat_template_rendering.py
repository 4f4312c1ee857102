import logging
import re
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from markupsafe import Markup
from psycopg2 import OperationalError
from psycopg2.errors import QueryCanceled
from psycopg2.extensions import TRANSACTION_STATUS_INERROR

from odoo import api, fields, models
from odoo.exceptions import AccessError, ConcurrencyError, UserError
from odoo.tools import LazyTranslate, html2plaintext
from odoo.tools.rendering_tools import parse_inline_template
from odoo.tools.safe_eval import safe_eval

from ..tools import wechat_keywords
from .wechat_account_sending import DEFAULT_TZ

_lt = LazyTranslate(__name__)
_logger = logging.getLogger(__name__)

# Keys of the context. Rendering for a form must not forget the new records that the form is made of.
PREVIEW = "wechat_preview"
SAVEPOINTS = "wechat_savepoints"


class Card(NamedTuple):
    """What one message says: rendered once, and sent as often as it takes."""

    # As ``wechat.message.card`` stores it: data, url, miniprogram, and for the eye title and lines.
    card: dict
    # The same as plain text.
    body: str
    # Sentences for the user: why WeChat would refuse it, and what was done to make it fit.
    errors: list[str]
    cuts: list[str]
    # Of a notice whose card has errors.
    failure_type: str = "wechat_value"


class ExpressionError(UserError):
    """An expression failed on a record."""


class BrokenTransactionError(Exception):
    """A query of an expression failed: the transaction takes no other until it is rolled back to a savepoint."""


class Value(NamedTuple):
    """What an expression gives: something that :func:`wechat_keywords.fit` takes, and the currency of a monetary."""

    value: object
    currency: models.BaseModel | None = None


class WechatTemplate(models.Model):
    """From a template and records to cards."""

    _inherit = "wechat.template"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === BUSINESS METHODS === #

    def _prepare_cards(self, records, partners=None):
        """Render the template on records, in the language and the time zone of who gets the card.

        :param records: of the template's model.
        :param dict[int, res.partner] partners: who gets the card of each record; of several the first counts. Default:
            Odoo's own ``_mail_get_partners``.
        :return: by id of the record. A card with errors must not be sent.
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

        A template that can't be used makes cards with errors: no business fails because of a notice.

        :param records: any that have a chatter.
        :param dict[int, res.partner] recipients: by id of the record.
        :return: by id of the record its cards and who gets each, the first recipient's first.
        :rtype: dict[int, list[tuple[Card, res.partner]]]
        """
        if reason := self._get_obstacle(records._name):
            title = self.title or self.name or self.env._("WeChat notice")
            card = {"title": title, "lines": [], "data": {}, "url": "", "miniprogram": {}}
            failed = Card(card, title, [reason], [], "wechat_template")
            return {record.id: [(failed, recipients[record.id])] for record in records}
        return self._render(records, recipients)

    def _get_obstacle(self, model=None):
        """Return why no notice can be made by this template, to be translated by its reader, or None.

        :param str model: what the notice is about; by default what the template is made for.
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
        template = self.with_context(**{"template_preview_lang": lang, PREVIEW: True})
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

    def _render(self, records, recipients):
        """Render the template on records, for each language and time zone of their recipients.

        :param records: of the template's model.
        :param dict[int, res.partner] recipients: by id of the record.
        :return: see :meth:`_prepare_notices`.
        """
        with suppress(BrokenTransactionError), self._savepoint():
            return self._render_localized(records, recipients)
        # A savepoint for each expression tells which of them has broken it. It costs two queries each, so not before.
        return self.with_context(**{SAVEPOINTS: True})._render_localized(records, recipients)

    def _render_localized(self, records, recipients):
        langs = self._render_langs(records)
        everybody = self.env["res.partner"].union(*recipients.values())
        nobody = self.env["res.partner"]
        shares = {
            record.id: self._group_by_locale(
                record, recipients.get(record.id, nobody).with_prefetch(everybody.ids), langs.get(record.id)
            )
            for record in records
        }
        res_ids = {}
        for res_id, groups in shares.items():
            for locale in groups:
                res_ids.setdefault(locale, []).append(res_id)
        cards = {
            (record.id, (lang, tz)): self._prepare_card(record)
            for (lang, tz), ids in res_ids.items()
            for record in records.browse(ids).with_context(lang=lang, tz=tz)
        }
        return {
            res_id: [(cards[res_id, locale], partners) for locale, partners in groups.items()]
            for res_id, groups in shares.items()
        }

    def _group_by_locale(self, record, partners, lang):
        """Return the recipients of a record by the language and the time zone of their cards.

        :param str | None lang: the template's, for all of them.
        :return: one language and time zone also if there is no recipient.
        :rtype: dict[tuple[str, str], res.partner]
        """
        company = record.env.company
        if "company_id" in record._fields and record._fields["company_id"].comodel_name == "res.company":
            company = record.company_id or company
        # sudo: res.company, res.partner - a time zone and a language, of records that the user may not read
        default_tz = company.sudo().partner_id.tz or DEFAULT_TZ
        get_lang = self.env["wechat.account"]._get_lang
        groups = {}
        for partner in partners or [partners]:
            partner_sudo = partner.sudo()
            locale = (get_lang(lang, partner_sudo.lang), partner_sudo.tz or default_tz)
            groups[locale] = groups.get(locale, partners.browse()) + partner
        return groups

    def _render_langs(self, records):
        """Return by id of the record the language that the template asks for; one that fails leaves the recipient's.

        :rtype: dict[int, str]
        """
        if lang := self.env.context.get("template_preview_lang"):
            return {record.id: lang for record in records}
        langs = {}
        for record in records if self.lang else ():
            with suppress(ExpressionError, AccessError):
                langs[record.id] = self._evaluate_text(self.lang, record).strip()
        return langs

    def _prepare_card(self, record):
        """Render one card.

        :param record: in the language and the time zone of the card.
        :rtype: Card
        """
        errors, cuts, data, lines = [], [], {}, []
        for line in self.line_ids:
            text = line._render(record, errors, cuts)
            data[line.key] = {"value": text}
            lines.append({"label": line.label or line.key, "value": text})
        card = {
            "title": self.title or self.with_context(lang=record.env.lang).name,
            "lines": lines,
            "data": data,
            "url": self._render_url(record, errors),
            "miniprogram": self._render_miniprogram(record, errors),
        }
        body = "\n".join([card["title"], *(f"{line['label']}: {line['value']}" for line in lines)])
        return Card(card, body, errors, cuts)

    def _render_url(self, record, errors):
        """Return the address that a touch on the card opens; one without a host leads to this Odoo."""
        if not self.url:
            return ""
        url = ""
        with self._telling(self.env._("Link"), errors):
            url = self._evaluate_text(self.url, record).strip()
            if url.startswith("/"):
                url = urljoin(record.get_base_url(), url)
            if url and not self._is_web_address(url):
                errors.append(self.env._("The link %s is no web address: it must begin with https://.", url))
        return url

    @api.model
    def _is_web_address(self, url):
        try:
            parts = urlsplit(url)
        except ValueError:
            # Such as a bracket that belongs to no IPv6 address.
            return False
        return parts.scheme in ("http", "https") and bool(parts.hostname)

    def _render_miniprogram(self, record, errors):
        if not self.miniprogram_appid:
            return {}
        path = ""
        with self._telling(self.env._("Page of the Mini Program"), errors):
            path = self._evaluate_text(self.miniprogram_path or "", record).strip()
        return {"appid": self.miniprogram_appid, "pagepath": path}

    # === BUSINESS METHODS - FAILURES === #

    @contextmanager
    def _telling(self, keyword, errors):
        """Turn what fails on a part of a card into a sentence, so that it fails this card and nothing else.

        :param str keyword: what people know the part by.
        :param list[str] errors: takes the sentence.
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
        """Roll back what is done inside if it fails, the database's work and the ORM's.

        Unlike the cursor's own it runs no precommit hooks: they would track the changes of a document too early.

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
        """Raise what no sentence must hide: conflicts, which Odoo repeats, and the end of the transaction.

        A query that fails by itself or was canceled for its length is no conflict, but the fault of its author.

        :param Exception error: what was caught.
        :raise BrokenTransactionError: if the transaction takes no other query.
        """
        is_broken = self._is_transaction_broken()
        cause = error
        while cause:
            if isinstance(cause, (OperationalError, ConcurrencyError)) and not isinstance(cause, QueryCanceled):
                raise cause
            # A ValueError is how safe_eval tells most errors. Behind others there may be an error that was handled.
            has_hidden = is_broken or type(cause) is ValueError
            cause = (cause.__cause__ or cause.__context__) if has_hidden else None
        if is_broken:
            raise BrokenTransactionError from error

    # === BUSINESS METHODS - EXPRESSIONS === #

    def _evaluate(self, source, record):
        """Evaluate an inline template without making text of what is one expression alone.

        :param str source: such as ``{{ object.name ||| default }}``.
        :param record: what the expressions call ``object``, in the language and the time zone of the card.
        :rtype: Value
        :raise AccessError: if the user may not render such expressions, as by ``mail.render.mixin``.
        """
        self._check_may_render(source, record._name)
        parts = parse_inline_template(source.strip())
        if len(parts) == 1 and parts[0][1] and not parts[0][0]:
            _literal, expression, default = parts[0]
            value = self._evaluate_expression(expression, record)
            return value if self._has_content(value.value) else Value(default)
        return Value(self._join(parts, record))

    def _evaluate_text(self, source, record):
        """Evaluate an inline template to text: see :meth:`_evaluate`.

        :rtype: str
        """
        self._check_may_render(source, record._name)
        return self._join(parse_inline_template(source), record)

    def _join(self, parts, record):
        texts = []
        for literal, expression, default in parts:
            texts.append(literal)
            if expression:
                value = self._evaluate_expression(expression, record)
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

    def _evaluate_expression(self, expression, record):
        """Evaluate one expression and prepare its value for people: labels, names, the reader's clock.

        :rtype: Value
        :raise ExpressionError: whatever the expression raises; it shall fail this card and no other.
        """
        try:
            with self._savepoint() if self.env.context.get(SAVEPOINTS) else nullcontext():
                names = expression.split(".")
                if self._is_field_path(names, record):
                    value, currency = self._read_path(names[1:], record)
                else:
                    template = self.with_env(record.env)
                    value = safe_eval(expression, {**template._render_eval_context(), "object": record})
                    currency = None
                return Value(self._prepare_value(value, record), currency)
        except Exception as error:
            self._reraise_database_error(error)
            _logger.info(
                "wechat.templates: expression failed template=%s expression=%s", self.id, expression, exc_info=True
            )
            reason = error
            if isinstance(error, BrokenTransactionError):
                reason = error.__cause__ or self.env._("one of its queries failed")
            raise ExpressionError(
                self.env._("The expression %(expression)s failed: %(error)s", expression=expression, error=reason)
            ) from error

    @api.model
    def _prepare_value(self, value, record):
        """Return a value as people know it: names for records, text for HTML, the reader's clock.

        :param record: in the language and the time zone of the card.
        """
        if isinstance(value, models.BaseModel):
            return ", ".join(name for name in value.mapped("display_name") if name)
        if isinstance(value, Markup):
            # Odoo leaves comments of several lines, and fails where nothing but a comment is to be parsed.
            html = re.sub(r"(?s)<!--.*?(-->|\Z)", "", value)
            return html2plaintext(f"<div>{html}</div>").strip()
        if isinstance(value, datetime) and not value.tzinfo:
            return fields.Datetime.context_timestamp(record, value).replace(tzinfo=None)
        return value

    def _render_eval_context(self):
        """Let the helpers of expressions tell times in the zone of the card, not in that of the user who causes it."""
        context = super()._render_eval_context()
        zone = self.env.tz.zone

        def in_zone(format_moment):
            return lambda moment, tz=False, *args, **kwargs: format_moment(moment, tz or zone, *args, **kwargs)

        return {**context, **{name: in_zone(context[name]) for name in ("format_datetime", "format_time")}}

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
        return value is not None and value is not False and (not isinstance(value, str) or bool(value.strip()))

    @api.model
    def _to_text(self, value):
        if value.currency:
            return f"{value.value:.{value.currency.decimal_places}f}"
        return wechat_keywords.to_text(value.value)
