import json

from odoo import fields
from odoo.tools.translate import LazyGettext, get_translation

MODULE = "wechat_merchant_bind"
KEY = "terms"


def encode_terms(*terms):
    """Return terms in the form that a TermText stores.

    :param terms: one per line: a lazily translated term (_lt), or a text that is shown verbatim.
    :rtype: str
    """
    lines = [[term._source, term._args] if isinstance(term, LazyGettext) else term for term in terms]
    return json.dumps({KEY: lines}, ensure_ascii=False)


class TermText(fields.Text):
    """A text that is stored as terms of this addon and translated when it is read.

    A scheduled action or another user writes it; every user reads it in the own language. Values that were not made by
    encode_terms() are shown verbatim.
    """

    def convert_to_record(self, value, record):
        text = super().convert_to_record(value, record)
        if not (text and text.startswith(f'{{"{KEY}": [')):
            return text
        lang = record.env.lang or "en_US"
        return "\n".join(self._get_line(term, lang) for term in json.loads(text)[KEY])

    def _get_line(self, term, lang):
        if isinstance(term, str):
            return term
        source, args = term
        return get_translation(MODULE, lang, source, tuple(args) if isinstance(args, list) else args)
