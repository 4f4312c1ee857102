from . import audit
from . import account
from . import binding
from . import inbox
from . import channel
from . import outbox
from . import desk
