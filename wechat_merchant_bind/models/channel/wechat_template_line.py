from odoo import api, fields, models

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
        lines._check_may_edit()
        return lines

    def write(self, vals):
        result = super().write(vals)
        # Another template may have another model, for which other expressions are harmless.
        if "value" in vals or "template_id" in vals:
            self._check_may_edit()
        return result

    # === BUSINESS METHODS === #

    def _check_may_edit(self):
        for line in self:
            line.template_id._check_expressions(line.value, line.template_id.model)

    def _get_name(self):
        """Return the name of the keyword for users."""
        return f"{self.label} ({self.key})" if self.label else self.key

    def _is_missing(self):
        """Tell whether the keyword needs a value and has none."""
        return not self.value and wechat_keywords.get_type(self.key) != wechat_keywords.KEYWORD_TYPES["const"]

    def _render(self, record, errors, cuts):
        """Render the keyword on a record of the template's model.

        A value that WeChat would refuse is written in another way where there is one: see wechat_keywords.fit; or in
        Chinese or English.

        :param record: in the language and the time zone of the card.
        :param list[str] errors: gets a sentence if WeChat would refuse the value.
        :param list[str] cuts: gets sentences if the phone does not show the value as it was written.
        :return: the value as it is sent; unchanged if WeChat would refuse it.
        :rtype: str
        """
        self.ensure_one()
        if self.key in wechat_keywords.HIDDEN_KEYS:
            cuts.append(self.env._("%(keyword)s is not shown: WeChat leaves it out.", keyword=self._get_name()))
        with self.template_id._collect_errors(self._get_name(), errors):
            value, problem = None, None
            for localized in self._get_localized(record):
                translated = self.template_id._evaluate(self.value or "", localized)
                value = translated if problem is None else value
                try:
                    fitted = wechat_keywords.fit(self.key, translated, self._get_currency(localized))
                except KeywordError as error:
                    problem = problem or error
                else:
                    fitted = fitted._replace(is_rewritten=bool(problem) or fitted.is_rewritten)
                    cuts += self._describe_changes(value, fitted, record)
                    return fitted.text
            errors.append(self._describe_problem(value, problem))
            return wechat_keywords.to_text(value or "")
        return ""

    def _get_localized(self, record):
        """Yield the record in its language, then in those in which WeChat may accept what it refuses in that one."""
        yield record
        installed = [lang for lang, _name in self.env["res.lang"].get_installed()]
        for lang in OTHER_LANGS:
            if lang in installed and lang != record.env.lang:
                yield record.with_context(lang=lang)

    def _get_currency(self, record):
        is_amount = wechat_keywords.get_type(self.key) is wechat_keywords.KEYWORD_TYPES["amount"]
        return self.template_id._get_record_currency(record) if is_amount else None

    def _describe_changes(self, value, fitted, record):
        """Return sentences about the difference between a value and what the phone shows."""
        words = {"keyword": self._get_name(), "value": wechat_keywords.to_text(value or ""), "text": fitted.text}
        if fitted.is_rewritten:
            return [self.env._("%(keyword)s is sent as %(text)s: WeChat refuses %(value)s.", **words)]
        if fitted.is_without_currency:
            currency = getattr(value, "currency", None) or self._get_currency(record)
            return [
                self.env._(
                    "%(keyword)s goes without %(currency)s, for which WeChat has no sign.",
                    keyword=words["keyword"],
                    currency=currency.code,
                )
            ]
        if fitted.is_cut:
            return [self.env._("%(keyword)s was cut to %(value)s.", keyword=words["keyword"], value=fitted.text)]
        return []

    def _describe_problem(self, value, error):
        problem = self.env._(
            "%(keyword)s %(problem)s.",
            keyword=self._get_name(),
            problem=self.env._(wechat_keywords.PROBLEMS[error.code]),
        )
        text = wechat_keywords.to_text(value or "")
        return self.env._("%(problem)s It is: %(value)s", problem=problem, value=text) if text else problem
