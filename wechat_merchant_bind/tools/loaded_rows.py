"""The rows of a file with OpenIDs, what was found out about each, and what becomes of it."""

from dataclasses import dataclass, field


@dataclass
class LoadedRow:
    """A row of a file, what was found out about it, and what becomes of it (``wechat.binding.import.line.result``)."""

    merchant: str
    openid: str
    partner: object = None
    account: object = None
    user: dict = field(default_factory=dict)
    result: str = "left_out"
    reason: str = ""


@dataclass(eq=False)
class LoadedRows:
    """The rows of one import. It travels in the context of one ``load``, where nobody but ``load`` can put it."""

    file_id: int = 0
    file_name: str = ""
    first_number: int = 1
    rows: dict = field(default_factory=dict)
    is_refused: bool = False
    log: object = None

    def number(self, index):
        """Return the number of a row as the file counts it, without its line of titles."""
        return self.first_number + index

    def get_numbers(self, result):
        """Return the numbers of the rows that have a result."""
        return [self.number(index) for index, row in self.rows.items() if row.result == result]

    def refuse(self, index, reason, **message):
        """Refuse a row, and with it the import.

        :param int index: the row.
        :param str reason: why, in words.
        :param message: what else the message to the user holds. The screen shows the reason itself only if no field is
            named.
        """
        row = self.rows[index]
        row.result, row.reason = "refused", "\n".join(filter(None, [row.reason, reason]))
        self.is_refused = True
        number = self.number(index)
        position = {"rows": {"from": number - 1, "to": number - 1}, "record": number}
        self.log({"field": False, **message, **position, "type": "error", "message": reason})

    def take_write_errors(self, messages):
        """Take why the database refused rows, as when one of them was bound by a scan meanwhile.

        :param list[dict] messages: of Odoo's import.
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
        """Return the rows that nothing has spoken against so far, by index."""
        return {index: row for index, row in self.rows.items() if row.result == "left_out"}
