"""Rows of a file with OpenIDs during their import, with their results."""

from dataclasses import dataclass, field


@dataclass
class LoadedRow:
    """A row of a file, the records found for it, and its result (see wechat.binding.import.line.result)."""

    merchant: str
    openid: str
    partner: object = None
    account: object = None
    user: dict = field(default_factory=dict)
    result: str = "left_out"
    reason: str = ""


@dataclass(eq=False)
class LoadedRows:
    """The rows of one import, in the context of one call of load. RPC callers cannot inject one."""

    file_id: int = 0
    file_name: str = ""
    first_number: int = 1
    rows: dict = field(default_factory=dict)
    is_refused: bool = False
    log: object = None

    def number(self, index):
        """Return the number of a row in the file, not counting the header."""
        return self.first_number + index

    def get_numbers(self, result):
        """Return the numbers of the rows with a result."""
        return [self.number(index) for index, row in self.rows.items() if row.result == result]

    def refuse(self, index, reason, **message):
        """Refuse a row, and with it the import.

        :param int index: the row.
        :param str reason: why, in words.
        :param message: more values of the message. The screen shows the reason only if the message names no field.
        """
        row = self.rows[index]
        row.result, row.reason = "refused", "\n".join(filter(None, [row.reason, reason]))
        self.is_refused = True
        number = self.number(index)
        position = {"rows": {"from": number - 1, "to": number - 1}, "record": number}
        self.log({"field": False, **message, **position, "type": "error", "message": reason})

    def take_write_errors(self, messages):
        """Record the reasons for which the database refused rows, such as a binding by a scan meanwhile.

        :param list[dict] messages: messages of Odoo's import.
        """
        self.is_refused = True
        for message in messages:
            if (index := message.get("record")) in self.rows:
                self.rows[index].result, self.rows[index].reason = "refused", message["message"]
                message.update(record=self.number(index), field=False)

    def fail(self, reason):
        """Refuse the import as a whole.

        :param str reason: why, in words.
        """
        for row in self.rows.values():
            row.reason = row.reason or reason
        self.is_refused = True
        self.log({"type": "error", "message": reason})

    def get_open(self):
        """Return the rows that were not refused so far, by index."""
        return {index: row for index, row in self.rows.items() if row.result == "left_out"}
