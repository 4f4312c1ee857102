from contextlib import suppress

from odoo import api, fields, models
from odoo.tools import format_amount

from ...tools import wechat_keywords
from ...tools.wechat_keywords import KeywordError

# Languages in which a value is written if WeChat would refuse it in the recipient's.
OTHER_LANGS = ("zh_CN", "en_US")


class WechatTemplateLine(models.Model):
    """A keyword of a template: WeChat's key, and the expression that fills it."""

    _name = "wechat.template.line"
    _description = "WeChat Template Keyword"
    _order = "sequence, id"

    # === FIELDS === #

    template_id = fields.Many2one("wechat.template", required=True, ondelete="cascade", index=True)
    company_id = fields.Many2one(related="template_id.company_id", store=True, index="btree_not_null")
    model = fields.Char(related="template_id.model")
    sequence = fields.Integer(default=10)
    key = fields.Char(required=True, help="As WeChat names it, such as thing1.")
    label = fields.Char(help="The word that stands before the value on the phone.")
    value = fields.Char(help="An inline template, such as {{ object.name }}.")
    type_label = fields.Char("Type", compute="_compute_type")
    limit = fields.Char("WeChat Takes", compute="_compute_type")

    # === CONSTRAINTS AND INDEXES === #

    _key_unique = models.UniqueIndex("(template_id, key)", "A template has each keyword once.")

    # === COMPUTE METHODS === #

    @api.depends("key")
    @api.depends_context("lang")
    def _compute_type(self):
        for line in self:
            keyword_type = wechat_keywords.get_type(line.key or "")
            line.type_label = keyword_type and self.env._(keyword_type.label)
            line.limit = self.env._(wechat_keywords.get_limit(line.key or ""))

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        lines = super().create(vals_list)
        lines.template_id._check_may_edit(lines.mapped("value"))
        return lines

    def write(self, vals):
        result = super().write(vals)
        # Another template may have another model, for which other expressions are harmless.
        if "value" in vals or "template_id" in vals:
            for line in self:
                line.template_id._check_may_edit([line.value])
        return result

    # === BUSINESS METHODS === #

    def _get_name(self):
        """Return the name of the keyword for users.

        :rtype: str
        """
        return f"{self.label} ({self.key})" if self.label else self.key

    def _is_missing(self):
        """Tell whether the keyword needs a value and has none.

        :rtype: bool
        """
        return not self.value and wechat_keywords.get_type(self.key) != wechat_keywords.KEYWORD_TYPES["const"]

    def _is_shown(self):
        """Tell whether the phone shows the keyword.

        :rtype: bool
        """
        return self.key not in wechat_keywords.HIDDEN_KEYS

    def _render(self, record, errors, cuts):
        """Render the keyword on a record of the template's model.

        A value that WeChat would refuse is written in another way where there is one: in Chinese or English, with the
        code of its currency, or as a number alone.

        :param record: in the language and the time zone of the card.
        :param list[str] errors: gets a sentence if WeChat would refuse the value.
        :param list[str] cuts: gets a sentence if the phone does not show the value as it was written.
        :return: the value as it is sent; unchanged if WeChat would refuse it.
        :rtype: str
        """
        self.ensure_one()
        template = self.template_id
        with template._collect_errors(self._get_name(), errors):
            value = template._evaluate(self.value or "", record)
            if not self._is_shown():
                cuts.append(self.env._("%(keyword)s is not shown: WeChat leaves it out.", keyword=self._get_name()))
            try:
                return self._fit(value, record, cuts)
            except KeywordError as error:
                problem = error
            installed = [lang for lang, _name in self.env["res.lang"].get_installed()]
            for lang in OTHER_LANGS:
                if lang in installed and lang != record.env.lang:
                    translated = record.with_context(lang=lang)
                    with suppress(KeywordError):
                        text = self._fit(template._evaluate(self.value or "", translated), translated, [])
                        cuts.append(self._describe_replacement(value, text))
                        return text
            text = wechat_keywords.to_text(value.value or "")
            errors.append(self._describe_problem(text, problem))
            return text
        return ""

    def _fit(self, value, record, cuts):
        """Return a value as WeChat accepts it; see _render.

        :param Value value: the value of the expression.
        :raise KeywordError: if WeChat would refuse all the ways to write it.
        """
        problem = None
        for number, (written, currency) in enumerate(self._get_writings(value, record)):
            try:
                fitted = wechat_keywords.fit(self.key, written, currency)
            except KeywordError as error:
                problem = problem or error
                continue
            # What is left of a number or a date says something else.
            if fitted.is_cut and (value.currency or not isinstance(value.value, str)):
                problem = problem or KeywordError("too_long")
                continue
            if number:
                cuts.append(self._describe_replacement(value, fitted.text))
            elif fitted.is_cut:
                cuts.append(
                    self.env._("%(keyword)s was cut to %(value)s.", keyword=self._get_name(), value=fitted.text)
                )
            if fitted.is_without_currency:
                cuts.append(
                    self.env._(
                        "%(keyword)s goes without %(currency)s, for which WeChat has no sign.",
                        keyword=self._get_name(),
                        currency=currency.code,
                    )
                )
            return fitted.text
        raise problem

    def _get_writings(self, value, record):
        """Return the ways to write a value, the best first, as arguments value and currency of wechat_keywords.fit.

        :rtype: list[tuple]
        """
        types = wechat_keywords.KEYWORD_TYPES
        keyword_type = wechat_keywords.get_type(self.key)
        written, currency, text = value
        if keyword_type is types["amount"]:
            currency = currency or self.template_id._get_record_currency(record)
            unit = wechat_keywords.Currency(currency.name, currency.decimal_places)
            # As res.currency.format writes it, with any symbol.
            number = isinstance(written, str) and written.replace(currency.symbol or "", "").replace(currency.name, "")
            return [(written, unit), *([(number, unit)] if number else [])]
        if text or (currency and keyword_type in (None, types["thing"])):
            text = text or format_amount(record.env, written, currency).replace("\N{NO-BREAK SPACE}", "")
            number = f"{written:.{currency.decimal_places}f}"
            if keyword_type is not types["number"]:
                return [(text, None), (f"{currency.name} {number}", None), (number, None)]
        return [(written, None)]

    def _describe_replacement(self, value, text):
        return self.env._(
            "%(keyword)s is sent as %(text)s: WeChat refuses %(value)s.",
            keyword=self._get_name(),
            text=text,
            value=self.template_id._to_text(value),
        )

    def _describe_problem(self, text, error):
        problem = self.env._(
            "%(keyword)s %(problem)s.",
            keyword=self._get_name(),
            problem=self.env._(wechat_keywords.PROBLEMS[error.code]),
        )
        return self.env._("%(problem)s It is: %(value)s", problem=problem, value=text) if text else problem
