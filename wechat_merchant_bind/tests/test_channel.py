from .common import WechatCase


class TestChannel(WechatCase):
    """Documents notify by WeChat, and Odoo's notifications say what became of it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.template = cls._create_template()

    def test_reached(self):
        self._bind()
        message = self.merchant.with_user(self.user)._message_wechat_with_template(self.template)
        self.assertRecordValues(message, [{"message_type": "wechat", "author_id": self.user.partner_id.id}])
        self.assertWechatNotification(message, self.merchant, "outgoing")
