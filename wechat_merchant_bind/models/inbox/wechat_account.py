from odoo import fields, models

from ..audit.term_text import TermText


class WechatAccount(models.Model):
    """The account's verification, as WeChat's events tell it."""

    _inherit = "wechat.account"  # pylint: disable=consider-merging-classes-inherited  # a file a package

    # === FIELDS === #

    verification_expires_at = fields.Datetime(
        "Verified until",
        copy=False,
        help="WeChat tells it when it has verified the account and before the yearly review is due. If the account was "
        "renewed and the old time is still shown, enter the new one.",
    )
    # By WeChat's clock: an event that is handled late must not replace a newer one.
    verification_event_at = fields.Datetime("Last Event of the Verification", readonly=True, copy=False)
    verification_failure = TermText("Verification Refused", readonly=True, copy=False)

    # === BUSINESS METHODS === #

    def _record_verification(self, at, values):
        """Store the content of an event about the account's verification, unless a later one is stored.

        :param datetime at: the time of the event.
        :param dict values: the fields of the account that it changes.
        :return: whether it was stored.
        :rtype: bool
        """
        self.ensure_one()
        if self.verification_event_at and at < self.verification_event_at:
            return False
        self.write({"verification_event_at": at, **values})
        return True
