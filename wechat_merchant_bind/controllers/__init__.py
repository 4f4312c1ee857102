from . import download
from . import page
from . import portal
from . import share
from . import undo
from . import webhook
