import json

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import split_every

from ..models.const import PREVIEW

# Records in one batch of messages, as many as Odoo prefetches.
BATCH_SIZE = 1000
# Names shown for each reason of unreached recipients.
NAMES_SHOWN = 3
# Up to this number of records, each card is rendered beforehand to find those that WeChat would refuse.
TRIED_AT_MOST = 500


class WechatComposer(models.TransientModel):
    """Dialog that sends a template about one or many records, and shows beforehand which recipients are reached."""

    _name = "wechat.composer"
    _description = "Send WeChat Notices"
    _rec_name = "template_id"

    # === DEFAULTS === #

    @api.model
    def default_get(self, fields):
        """Set the records from which the composer was opened, and the template if the model has only one."""
        values = super().default_get(fields)
        context = self.env.context
        values["res_model"] = values.get("res_model") or context.get("active_model")
        if not values.get("res_ids"):
            values["res_ids"] = json.dumps(context.get("active_ids") or [])
        if not values.get("template_id"):
            templates = self.env["wechat.template"].search(
                [("model", "=", values["res_model"]), ("is_vanished", "=", False)], limit=2
            )
            values["template_id"] = templates.id if len(templates) == 1 else False
        return values

    # === FIELDS === #

    template_id = fields.Many2one("wechat.template", ondelete="cascade")
    res_model = fields.Char("Document Model")
    res_ids = fields.Char("Document IDs", help="A JSON list.")
    record_count = fields.Integer("Documents", compute="_compute_audience")
    reached_count = fields.Integer("Will Get It", compute="_compute_audience")
    unreached_count = fields.Integer("Will Not Get It", compute="_compute_audience")
    unreached_reasons = fields.Text("Why Not", compute="_compute_audience")
    fallback = fields.Selection(related="template_id.fallback")
    scheduled_at = fields.Datetime("Send on", help="Leave empty to send at once.")
    preview_index = fields.Integer()
    preview_name = fields.Char(compute="_compute_card")
    card = fields.Json(compute="_compute_card")

    # === COMPUTE METHODS === #

    @api.depends("template_id", "res_model", "res_ids")
    @api.depends_context("lang")
    def _compute_audience(self):
        for composer in self:
            records = composer._get_records()
            audience = composer._get_audience(records)
            composer.record_count = len(records)
            composer.reached_count = len(audience.pop(None, []))
            composer.unreached_count = sum(map(len, audience.values()))
            composer.unreached_reasons = composer._describe_unreached(audience)

    @api.depends("template_id", "res_model", "res_ids", "preview_index")
    @api.depends_context("lang", "tz")
    def _compute_card(self):
        for composer in self:
            records = composer._get_records()
            record = records[composer.preview_index % len(records)] if records else records
            template_sudo = composer._get_template_sudo()
            composer.preview_name = record.display_name if record else False
            composer.card = False
            if record and template_sudo:
                partner = record._wechat_get_recipients(template_sudo)[record.id][:1]
                composer.card = template_sudo._prepare_preview(record, partner=partner)

    # === ACTION METHODS === #

    def action_send(self):
        """Queue the messages, for now or for the scheduled time.

        :return: the action that closes the dialog; for several records, a notification with the number of messages.
        :rtype: dict
        :raise UserError: if there is no record or recipient, or if WeChat would refuse the card of the only record.
        """
        self.ensure_one()
        records = self._get_records()
        template_sudo = self._get_template_sudo()
        self._check_sendable(records, template_sudo)
        kind = "notice" if len(records) == 1 else "mass"
        messages = self.env["mail.message"]
        for res_ids in split_every(BATCH_SIZE, records.ids):
            messages += records.browse(res_ids)._message_wechat_with_template(
                template_sudo, scheduled_at=self.scheduled_at or None, kind=kind
            )
        if len(records) == 1:
            return {"type": "ir.actions.act_window_close"}
        return self._get_result(messages)

    # === BUSINESS METHODS === #

    def _get_records(self):
        """Return the records that the messages are about.

        :raise AccessError: if the user may not read them.
        :raise UserError: if the IDs are malformed, or the model has no chatter.
        """
        self.ensure_one()
        try:
            ids = json.loads(self.res_ids or "[]")
        except ValueError:
            ids = None
        if not isinstance(ids, list) or not all(type(res_id) is int for res_id in ids):
            raise UserError(self.env._("The IDs of the documents must be a JSON list, such as [1, 2]."))
        model = self.env.get(self.res_model)
        if model is None or not issubclass(type(model), self.pool["mail.thread"]):
            if not ids:
                return self.env["res.partner"]
            raise UserError(self.env._("Documents of the model %s can't be notified about.", self.res_model))
        records = model.browse(dict.fromkeys(ids)).exists()
        records.check_access("read")
        return records

    def _get_template_sudo(self):
        """Return the template, sudoed: editors wrote its expressions for all users that may send."""
        template = self.template_id
        template.check_access("read")
        # sudo: wechat.template - the user may read it; the records are read with the user's own rights
        return template.sudo()

    def _get_audience(self, records):
        """Return the recipients by the reason for which they are not reached.

        :return: partners by failure type, under None those that are reached; under "" the records without a recipient.
        :rtype: dict[str | None, list[models.Model]]
        """
        template_sudo = self._get_template_sudo()
        if not template_sudo or not records:
            return {}
        recipients = records._wechat_get_recipients(template_sudo)
        partners = self.env["res.partner"].union(*recipients.values())
        obstacles = partners._wechat_get_reachability(template_sudo.account_id)
        refused = self._find_refused(records, recipients)
        audience = {}
        for record in records:
            for partner in recipients[record.id]:
                reason = obstacles[partner.id] or ("wechat_value" if record.id in refused else None)
                audience.setdefault(reason, []).append(partner)
            if not recipients[record.id]:
                audience.setdefault("", []).append(record)
        return audience

    def _find_refused(self, records, recipients):
        """Return the ids of records with a card that WeChat would refuse; empty for more than TRIED_AT_MOST records.

        :param dict[int, res.partner] recipients: by record id.
        :rtype: set[int]
        """
        if len(records) > TRIED_AT_MOST:
            return set()
        cards = self._get_template_sudo().with_context(**{PREVIEW: True})._prepare_cards(records, recipients)
        return {res_id for res_id, card in cards.items() if card.errors}

    def _describe_unreached(self, audience):
        """Describe the unreached recipients, one line for each reason.

        :param dict audience: the unreached part of _get_audience.
        :rtype: str
        """
        reasons = dict(self.env["wechat.message"]._fields["failure_type"]._description_selection(self.env))
        lines = []
        for reason, records in audience.items():
            # sudo: res.partner - names of the recipients of the user's own messages
            names = [record.sudo().display_name for record in records[:NAMES_SHOWN]]
            lines.append(
                self.env._(
                    "%(reason)s %(count)s: %(names)s",
                    reason=reasons.get(reason) or self.env._("No merchant named"),
                    count=len(records),
                    names=", ".join(names) + (" …" if len(records) > NAMES_SHOWN else ""),
                )
            )
        return "\n".join(lines)

    def _check_sendable(self, records, template_sudo):
        """Refuse a dialog that would send nothing.

        :raise UserError: with the reason.
        """
        if not template_sudo:
            raise UserError(self.env._("Choose a template."))
        if not records:
            raise UserError(self.env._("There are no documents to notify about."))
        if term := template_sudo._get_obstacle():
            raise UserError(self.env._(term))
        if len(records) == 1 and (errors := (self.card or {}).get("errors")):
            raise UserError(self.env._("WeChat would refuse this card.\n%s", "\n".join(errors)))
        if not self.reached_count and template_sudo.fallback == "none":
            raise UserError(self.env._("Nobody would get this message.\n%s", self.unreached_reasons))

    def _get_result(self, messages):
        """Return a notification with the numbers of queued and unsent messages.

        :param mail.message messages: of this run.
        :rtype: dict
        """
        groups = self.env["wechat.message"]._read_group(
            [("mail_message_id", "in", messages.ids)], ["state"], ["__count"]
        )
        counts = dict(groups)
        queued = counts.get("outgoing", 0)
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "type": "success" if queued == sum(counts.values()) else "warning",
                "message": self.env._(
                    "%(queued)s messages are on their way, %(others)s are not sent; the outbox says why.",
                    queued=queued,
                    others=sum(counts.values()) - queued,
                )
                if queued < sum(counts.values())
                else self.env._("%s messages are on their way.", queued),
                "next": {"type": "ir.actions.act_window_close"},
            },
        }
