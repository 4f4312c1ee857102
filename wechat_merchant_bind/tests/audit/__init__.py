from . import test_audit
from . import test_logging
from . import test_privacy
from . import test_secrecy
