import re

# WeChat on a computer can't scan codes on its own screen, and WeCom can't follow Official Accounts.
NO_PHONE_WECHAT = re.compile("WindowsWechat|MacWechat|wxwork")


def get_device(user_agent):
    """Return the device of a visitor: "wechat", "phone" or "desktop". It decides how a code on the page is scanned.

    :param str user_agent: the User-Agent header.
    :rtype: str
    """
    if "MicroMessenger" in user_agent and not NO_PHONE_WECHAT.search(user_agent):
        return "wechat"
    return "phone" if "Mobile" in user_agent else "desktop"
