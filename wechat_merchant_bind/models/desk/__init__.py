from . import wechat_account_health
from . import wechat_account
