from . import test_access_rights
from . import test_companies
from . import test_i18n
from . import test_js
from . import test_life_cycle
from . import test_plans
from . import test_query_counts
from . import test_rights
from . import test_tours

from .audit import *
from .account import *
from .binding import *
from .inbox import *
from .channel import *
from .outbox import *
from .desk import *
from .tools import *
