from . import wechat_suspend_mixin
from . import wechat_call_mixin
from . import wechat_access_token
from . import wechat_account
from . import ir_attachment
