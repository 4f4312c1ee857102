from . import share
from . import webhook
