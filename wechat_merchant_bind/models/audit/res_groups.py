from odoo import api, models

from ..const import GROUP_MANAGER, GROUP_USER

MEMBERSHIP_FIELDS = frozenset({"user_ids", "implied_ids", "implied_by_ids"})


class ResGroups(models.Model):
    """Records in the operations log when users join or leave the addon's groups."""

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
        """Return the users of the addon's groups, including those of implied groups.

        :rtype: dict[str, res.users]
        """
        members = {}
        for xmlid in (GROUP_MANAGER, GROUP_USER):
            # The groups don't exist yet while the addon is being installed.
            group = self.env.ref(xmlid, raise_if_not_found=False)
            # sudo: res.groups - changes are recorded without regard to the rights of the user
            members[xmlid] = group.sudo().all_user_ids if group else self.env["res.users"]
        return members

    @api.model
    def _wechat_log_members(self, before):
        """Record new and former members in the operations log.

        :param dict before: the result of _wechat_get_members() before the change.
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
