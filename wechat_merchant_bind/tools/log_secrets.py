"""Log filter that removes secrets from the lines of Odoo's web server and of the HTTP client."""

import logging
import re

# Characters of a secret in our own addresses that stay, enough to tell accounts or codes apart.
_SHOWN = 4
_ADDRESS = re.compile(rf"(/wechat/(?:merchant|bind|undo|digits|unbind)/[^/?\s]{{0,{_SHOWN}}})[^/?\s]*")
# WeChat's pushes carry signature and OpenID in the query.
_PUSH_QUERY = re.compile(r"(/wechat/merchant/[^?\s]*)\?.*?(?= HTTP/|$)", re.DOTALL)
_CALL_QUERY = re.compile(r"(?<=[?&])((?:access_token|secret|openid|next_openid)=)[^&\s]+")


def hide(text):
    """Return a text without the secrets in its addresses: ours, and those of calls to WeChat.

    :param str text: an address, or a line with addresses.
    :rtype: str
    """
    text = _PUSH_QUERY.sub(r"\1", _ADDRESS.sub(r"\1…", text))
    return _CALL_QUERY.sub(r"\1***", text)


def filter_record(record):
    """Hide the secrets in a record of a logger.

    :param logging.LogRecord record: changed in place.
    :return: True: the record is logged.
    :rtype: bool
    """
    if isinstance(record.args, tuple):
        record.args = tuple(hide(value) if isinstance(value, str) else value for value in record.args)
    return True


# The access log of Odoo's own server, and the debug lines of urllib3.
for _name in ("werkzeug", "urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(filter_record)
