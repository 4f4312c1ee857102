from odoo import api, models

from ..const import GROUP_MANAGER, GROUP_USER

MEMBERSHIP_FIELDS = frozenset({"user_ids", "implied_ids", "implied_by_ids"})


class ResGroups(models.Model):
    """Who was made a user or manager of WeChat, and by whom."""

    _inherit = "res.groups"

    # === CRUD METHODS === #

    def write(self, vals):
        if MEMBERSHIP_FIELDS.isdisjoint(vals):
            return super().write(vals)
        before = self._wechat_get_members()
        result = super().write(vals)
        self._wechat_log_members(before)
        return result

    # === BUSINESS METHODS === #

    @api.model
    def _wechat_get_members(self):
        """Return the users of the addon's groups, also those who got there through another group.

        :rtype: dict[str, res.users]
        """
        members = {}
        for xmlid in (GROUP_MANAGER, GROUP_USER):
            # While the addon is being installed, there are none yet.
            group = self.env.ref(xmlid, raise_if_not_found=False)
            # sudo: res.groups - what changes is recorded, whoever may change it
            members[xmlid] = group.sudo().all_user_ids if group else self.env["res.users"]
        return members

    @api.model
    def _wechat_log_members(self, before):
        """Record who has become a member, and who no longer is one.

        :param dict before: what :meth:`_wechat_get_members` returned.
        """
        after = self._wechat_get_members()
        joined = {xmlid: after[xmlid] - before[xmlid] for xmlid in after}
        left = {xmlid: before[xmlid] - after[xmlid] for xmlid in after}
        notes = [
            *(self.env._("%s became a WeChat manager.", user.name) for user in joined[GROUP_MANAGER]),
            *(self.env._("%s became a WeChat user.", user.name) for user in joined[GROUP_USER]),
            *(self.env._("%s is no longer a WeChat manager.", user.name) for user in left[GROUP_MANAGER]),
            *(self.env._("%s is no longer a WeChat user.", user.name) for user in left[GROUP_USER]),
        ]
        for note in notes:
            self.env["wechat.operation"]._log_note("settings", note)
