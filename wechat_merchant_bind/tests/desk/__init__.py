from . import test_account_check
from . import test_health
from . import test_overview
from . import test_reports
from . import test_statistics
from . import test_verification
