from . import test_tools_api
from . import test_tools_crypto
from . import test_tools_errors
from . import test_tools_tls
from . import test_tools_url
from . import test_tools_xml
from . import test_webhook
