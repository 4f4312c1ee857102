from . import test_automations
from . import test_channel
from . import test_common_wechat
from . import test_composer
from . import test_rendering
from . import test_server_action
from . import test_template
