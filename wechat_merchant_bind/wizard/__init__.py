from . import base_import_import
from . import base_partner_merge
from . import mail_compose_message
from . import privacy_lookup_wizard
from . import wechat_account_check
from . import wechat_account_check_line
from . import wechat_bind_code_show
from . import wechat_unbind
