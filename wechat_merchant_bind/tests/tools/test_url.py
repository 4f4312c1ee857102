from odoo.tests import BaseCase, tagged

from ...tools.wechat_api import WechatUrlError, check_base_url


@tagged("post_install", "-at_install", "wechat_tools")
class TestBaseUrl(BaseCase):
    def test_accepted(self):
        for url, insecure, normal in (
            ("https://api.weixin.qq.com", False, "https://api.weixin.qq.com"),
            (" HTTPS://API.weixin.QQ.com:443/ ", False, "https://api.weixin.qq.com"),
            ("https://proxy.example.com:8443/WeChat//", False, "https://proxy.example.com:8443/WeChat"),
            ("https://10.0.0.1", False, "https://10.0.0.1"),
            ("https://[2001:DB8::1]:80/", False, "https://[2001:db8::1]:80"),
            ("http://127.0.0.1:8070", True, "http://127.0.0.1:8070"),
            ("http://127.8.9.1:80", True, "http://127.8.9.1"),
            ("http://[::1]:8070", True, "http://[::1]:8070"),
            ("http://localhost", True, "http://localhost"),
            ("http://sandbox:8070", True, "http://sandbox:8070"),
        ):
            with self.subTest(url):
                self.assertEqual(check_base_url(url, insecure), normal)

    def test_refused(self):
        for url, code in (
            ("", "scheme"),
            (None, "scheme"),
            ("api.weixin.qq.com", "scheme"),
            ("ftp://api.weixin.qq.com", "scheme"),
            ("file:///etc/passwd", "scheme"),
            ("//api.weixin.qq.com", "scheme"),
            ("https://user:password@api.weixin.qq.com", "credentials"),
            ("https://@api.weixin.qq.com", "credentials"),
            ("https://api.weixin.qq.com/?a=b", "query"),
            ("https://api.weixin.qq.com?", "query"),
            ("https://api.weixin.qq.com/#a", "fragment"),
            ("https://api.weixin.qq.com#", "fragment"),
            ("https://", "invalid"),
            ("https:///path", "invalid"),
            ("https://:443", "invalid"),
            ("https://api.weixin.qq.com:99999", "invalid"),
            ("https://api.weixin.qq.com:0", "invalid"),
            ("https://api.weixin.qq.com:a", "invalid"),
            ("https://[::1", "invalid"),
            ("https://api weixin.qq.com", "invalid"),
            ("https://api.weixin.qq.com/\na", "invalid"),
            ("https://api.weixin.qq.com\\.evil.example", "invalid"),
            ("https://api.weixin.qq.com\0", "invalid"),
            ("https://api.weixin.qq.com/a\0", "invalid"),
            ("https://api.weixin.qq.com/a\\b", "invalid"),
            ("https://-a.example", "invalid"),
            ("https://微信.example", "invalid"),
            ("https://a%2eb", "invalid"),
            ("http://api.weixin.qq.com", "insecure"),
            ("http://localhost.evil.example", "insecure"),
            ("http://sandbox.example", "insecure"),
            ("http://127.0.0.1.evil.example", "insecure"),
            ("http://10.0.0.1", "insecure"),
            ("http://0.0.0.0", "insecure"),
            ("http://[::]", "insecure"),
            ("http://2130706433", "insecure"),
        ):
            with self.subTest(url), self.assertRaises(WechatUrlError) as caught:
                check_base_url(url, allow_insecure=True)
            self.assertEqual(caught.exception.code, code)
        for url in ("http://127.0.0.1", "http://localhost", "http://sandbox", "http://[::1]"):
            with self.subTest(url), self.assertRaises(WechatUrlError) as caught:
                check_base_url(url, allow_insecure=False)
            self.assertEqual(caught.exception.code, "insecure")
