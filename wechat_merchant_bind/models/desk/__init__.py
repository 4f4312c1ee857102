from . import mail_message
from . import mail_thread
from . import res_partner
from . import wechat_account
from . import wechat_account_health
from . import wechat_message
