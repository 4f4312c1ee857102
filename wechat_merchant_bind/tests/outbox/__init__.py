from . import test_fallback
from . import test_messages
from . import test_outbox
from . import test_outbox_limits
from . import test_outbox_rules
from . import test_quota
from . import test_receipts
from . import test_states
