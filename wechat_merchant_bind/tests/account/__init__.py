from . import test_access_token
from . import test_account
