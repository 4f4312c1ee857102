from . import ir_http
from . import wechat_account
from . import wechat_event
from . import wechat_binding
