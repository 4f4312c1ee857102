from . import download
from . import share
from . import webhook
