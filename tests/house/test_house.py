"""The addon keeps the order of its packages: imports go downwards, and a model has one place in a package."""

import shutil
from pathlib import Path

import pytest
from support.house import House
from support.system import REPOSITORY

ADDON = REPOSITORY / "wechat_merchant_bind"

MODEL = 'from odoo import models\n\n\nclass Model(models.Model):\n    _inherit = "{model}"\n'
# An offending file, its text, and the finding. Each breaks one rule.
FAULTS = {
    "upward-import": (
        "models/account/helper.py",
        "from ..outbox.wechat_message import WechatMessage\n",
        "models/account/helper.py:1: models/account imports from models/outbox",
    ),
    "upward-import-of-a-module": (
        "models/audit/helper.py",
        "from ..binding import res_partner\n",
        "models/audit/helper.py:1: models/audit imports from models/binding",
    ),
    "upward-import-of-a-package": (
        "models/inbox/helper.py",
        "from .. import desk\n",
        "models/inbox/helper.py:1: models/inbox imports from models/desk",
    ),
    "upward-import-in-a-function": (
        "models/inbox/helper.py",
        "def late():\n    from ..channel import wechat_template\n\n    return wechat_template\n",
        "models/inbox/helper.py:2: models/inbox imports from models/channel",
    ),
    "upward-import-by-the-full-name": (
        "models/binding/helper.py",
        "from odoo.addons.wechat_merchant_bind.models.inbox.wechat_event import WechatEvent\n",
        "models/binding/helper.py:1: models/binding imports from models/inbox",
    ),
    "upward-import-of-a-dialog": (
        "models/desk/helper.py",
        "from ...wizard.wechat_unbind import WechatUnbind\n",
        "models/desk/helper.py:1: models/desk imports from wizard",
    ),
    "upward-import-in-the-constants": (
        "models/const.py",
        "from .audit.wechat_operation import WechatOperation\n",
        "models/const.py:1: models/const.py imports from models/audit",
    ),
    "import-between-dialogs-and-controllers": (
        "wizard/helper.py",
        "from ..controllers.share import ShareController\n",
        "wizard/helper.py:1: wizard imports from controllers",
    ),
    "tool-that-imports-a-model": (
        "tools/helper.py",
        "from ..models.const import GROUP_USER\n",
        "tools/helper.py:1: tools imports from models/const.py",
    ),
    "tool-that-imports-all-models": (
        "tools/helper.py",
        "from .. import models\n",
        "tools/helper.py:1: tools imports from models",
    ),
    "tool-that-imports-odoo": (
        "tools/helper.py",
        "import odoo.tools\n",
        "tools/helper.py:1: a tool imports Odoo",
    ),
    "second-file-of-a-model": (
        "models/outbox/wechat_message_more.py",
        MODEL.format(model="wechat.message"),
        "models/outbox/wechat_message_more.py:4: the model wechat.message has a file in this package: "
        "models/outbox/wechat_message.py",
    ),
    "file-of-another-name": (
        "models/desk/overview.py",
        MODEL.format(model="res.users"),
        "models/desk/overview.py:4: the model res.users belongs in res_users.py",
    ),
    "file-beside-the-packages": (
        "models/res_users.py",
        MODEL.format(model="res.users"),
        "models/res_users.py:1: stands beside the packages of models/",
    ),
    "package-without-a-place": (
        "models/extra/res_users.py",
        MODEL.format(model="res.users"),
        "models/extra/res_users.py:1: stands in a package that has no place in the order",
    ),
    "constant-of-another-package": (
        "models/outbox/helper.py",
        "from ..inbox.wechat_event import SOME_LIMIT\n",
        "models/outbox/helper.py:1: imports the constant SOME_LIMIT from models/inbox",
    ),
    "constant-by-its-module": (
        "controllers/helper.py",
        "from ..models.inbox import wechat_event\n\nLIMIT = wechat_event.SOME_LIMIT\n",
        "controllers/helper.py:3: uses the constant SOME_LIMIT of models/inbox",
    ),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the addon's source."""
    addon = tmp_path / ADDON.name
    shutil.copytree(ADDON, addon, ignore=shutil.ignore_patterns("static", "i18n", "tests", "migrations", "__pycache__"))
    return addon


def test_addon_keeps_the_rules():
    """No file of the addon breaks a rule."""
    assert House(ADDON).find_faults() == []


def test_source_is_read():
    """The addon's files are among those read: a check of an empty folder would pass."""
    files = {str(file) for file in House(ADDON).trees}
    assert {"tools/wechat_api.py", "models/const.py", "models/outbox/wechat_message.py"} <= files


@pytest.mark.parametrize(("file", "text", "finding"), FAULTS.values(), ids=FAULTS)
def test_broken_rule_is_found(copy, file, text, finding):
    """An offending file is reported with its line and the reason."""
    (copy / file).parent.mkdir(exist_ok=True)
    (copy / file).write_text(text)
    assert finding in House(copy).find_faults()


def test_import_cycle_is_found(copy):
    """Two files of a package that import each other are reported."""
    (copy / "models/outbox/first.py").write_text("from .second import Second\n")
    (copy / "models/outbox/second.py").write_text("from .first import First\n")
    cycle = "models/outbox/first.py, models/outbox/second.py"
    assert House(copy).find_faults() == [f"models/outbox/first.py:1: imports in a circle: {cycle}"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param("models/desk/helper.py", "from ..audit.wechat_operation import WechatOperation\n", id="downwards"),
        pytest.param("models/desk/helper.py", "from ..const import GROUP_USER\n", id="constants"),
        pytest.param("models/desk/helper.py", "from ...tools.wechat_errors import DAILY_QUOTA\n", id="tools"),
        pytest.param("models/inbox/helper.py", "from .wechat_event import SOME_LIMIT\n", id="own-package"),
        pytest.param("controllers/helper.py", "from ..models.inbox.wechat_event import WechatEvent\n", id="controller"),
        pytest.param("report/res_users_report.py", "from ..models.const import STATES\n", id="report"),
        pytest.param("models/desk/res_users.py", MODEL.format(model="res.users"), id="extension"),
        pytest.param("models/desk/models.py", MODEL.format(model="base"), id="base"),
        pytest.param("models/outbox/sender.py", "class Sender:\n    pass\n", id="plain-class"),
    ],
)
def test_proper_file_is_accepted(copy, file, text):
    """A file that keeps the rules is not reported."""
    (copy / file).write_text(text)
    assert [fault for fault in House(copy).find_faults() if fault.startswith(f"{file}:")] == []
