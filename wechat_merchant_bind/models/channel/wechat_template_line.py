from odoo import api, fields, models
from odoo.tools import format_amount

from ...tools import wechat_keywords
from ...tools.wechat_keywords import KeywordError


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
            line.limit = self.env._(keyword_type.limit if keyword_type else "No known limit")

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

    def _render(self, record, errors, cuts):
        """Render the keyword on a record of the template's model.

        :param record: in the language and the time zone of the card.
        :param list[str] errors: gets a sentence if WeChat would refuse the value.
        :param list[str] cuts: gets a sentence if the value was shortened.
        :return: the value as it is sent; unchanged if WeChat would refuse it.
        :rtype: str
        """
        self.ensure_one()
        template = self.template_id
        with template._collect_errors(self._get_name(), errors):
            value = template._evaluate(self.value or "", record)
            return self._fit(value, record, errors, cuts)
        return ""

    def _fit(self, value, record, errors, cuts):
        """Return a value as WeChat accepts it; see _render.

        :param Value value: the value of the expression.
        """
        try:
            fitted = wechat_keywords.fit(self.key, *self._get_fitting(value, record))
        except KeywordError as error:
            errors.append(self._describe_problem(value, error))
            return wechat_keywords.to_text(value.value or "")
        if fitted.is_cut:
            cuts.append(self.env._("%(keyword)s was cut to %(value)s.", keyword=self._get_name(), value=fitted.text))
        if fitted.is_without_currency:
            cuts.append(
                self.env._(
                    "%(keyword)s goes without %(currency)s, for which WeChat has no sign.",
                    keyword=self._get_name(),
                    currency=(value.currency or self.template_id._get_record_currency(record)).name,
                )
            )
        return fitted.text

    def _get_fitting(self, value, record):
        """Return the arguments value and currency of wechat_keywords.fit."""
        types = wechat_keywords.KEYWORD_TYPES
        keyword_type = wechat_keywords.get_type(self.key)
        currency = value.currency
        if currency and keyword_type in (None, types["thing"]):
            return format_amount(record.env, value.value, currency).replace("\N{NO-BREAK SPACE}", ""), None
        if keyword_type is types["amount"]:
            currency = currency or self.template_id._get_record_currency(record)
            return value.value, wechat_keywords.Currency(currency.name, currency.decimal_places)
        return value.value, None

    def _describe_problem(self, value, error):
        text = wechat_keywords.to_text(value.value or "")
        problem = self.env._(
            "%(keyword)s %(problem)s.",
            keyword=self._get_name(),
            problem=self.env._(wechat_keywords.PROBLEMS[error.code]),
        )
        return self.env._("%(problem)s It is: %(value)s", problem=problem, value=text) if text else problem
