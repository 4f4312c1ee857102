from odoo.tests import tagged

from odoo.addons.web.tests import test_js


@tagged("post_install", "-at_install", "wechat")
class TestHoot(test_js.HOOTCommon):
    # pytest-odoo does not pass the parameters of test tags.
    _test_params = [("+", "@wechat_merchant_bind")]

    def test_hoot_suite_passes(self):
        self.browser_js(
            f"/web/tests?headless&loglevel=2&preset=desktop&timeout=15000{self.hoot_filters}",
            "",
            "",
            login="admin",
            timeout=300,
            success_signal="[HOOT] Test suite succeeded",
            error_checker=test_js.unit_test_error_checker,
        )
