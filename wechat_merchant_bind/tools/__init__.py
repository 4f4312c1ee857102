from . import call_pool
from . import file_names
from . import qr_picture
from . import wechat_api
from . import wechat_commands
from . import wechat_crypto
from . import wechat_errors
from . import wechat_xml
