import re

# WeChat on a computer has its own name in the agent and can't recognise a code on its screen; WeCom follows no account.
NO_PHONE_WECHAT = re.compile("WindowsWechat|MacWechat|wxwork")


def get_device(user_agent):
    """Return where a page is open, ``wechat``, ``phone`` or ``desktop``: it decides how a code on it is scanned.

    :param str user_agent: the header of the request.
    :rtype: str
    """
    if "MicroMessenger" in user_agent and not NO_PHONE_WECHAT.search(user_agent):
        return "wechat"
    return "phone" if "Mobile" in user_agent else "desktop"
