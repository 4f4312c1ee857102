from odoo import Command

from .common import WechatCase


class WechatTemplateCase(WechatCase):
    """Templates of res.partner, whose fields every database has."""

    def _create_template(self, values_by_key, **values):
        """Create a template.

        :param dict[str, str] values_by_key: the expressions; each keyword is labelled by its key.
        """
        return self.env["wechat.template"].create(
            {
                "name": "订单通知",
                "title": "新订单通知",
                "account_id": self.account.id,
                "template_uid": f"t{next(self._serial)}",
                "model_id": self.env["ir.model"]._get_id("res.partner"),
                "line_ids": [
                    Command.create({"key": key, "label": key, "value": value, "sequence": number})
                    for number, (key, value) in enumerate(values_by_key.items())
                ],
                **values,
            }
        )

    def _render(self, values_by_key, partner=None, **values):
        """Return the card of a partner and what it says by key."""
        partner = partner or self.merchant
        card = self._create_template(values_by_key, **values)._prepare_cards(partner)[partner.id]
        return card, {key: entry["value"] for key, entry in card.card["data"].items()}


class TestRendering(WechatTemplateCase):
    def test_card(self):
        card, data = self._render(
            {"thing1": "{{ object.name }}", "first": "{{ object.ref ||| 无 }}"},
            url="{{ '/odoo/contacts/%s' % object.id }}",
            miniprogram_appid="wx0123456789abcdef",
            miniprogram_path="pages/{{ object.id }}",
        )
        self.assertEqual(data, {"thing1": "杭州西湖茶庄", "first": "无"})
        self.assertEqual(
            card.card,
            {
                "title": "新订单通知",
                "lines": [{"label": "thing1", "value": "杭州西湖茶庄"}, {"label": "first", "value": "无"}],
                "data": {"thing1": {"value": "杭州西湖茶庄"}, "first": {"value": "无"}},
                "url": f"{self.merchant.get_base_url()}/odoo/contacts/{self.merchant.id}",
                "miniprogram": {"appid": "wx0123456789abcdef", "pagepath": f"pages/{self.merchant.id}"},
            },
        )
        self.assertEqual(card.body, "新订单通知\nthing1: 杭州西湖茶庄\nfirst: 无")
        self.assertEqual((card.errors, card.cuts), ([], []))
