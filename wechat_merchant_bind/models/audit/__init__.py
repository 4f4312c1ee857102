from . import term_text
from . import wechat_openid_mixin
from . import wechat_operation
from . import ir_config_parameter
from . import privacy_log
from . import res_groups
from . import res_users
