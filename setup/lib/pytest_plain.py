"""A pytest plugin that leaves out the tests that need Odoo's web server: HTTP, tours, Hoot."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of Odoo's HttpCase."""
    from odoo.tests import HttpCase  # pytest-odoo reads Odoo's configuration first

    served = [item for item in items if item.cls and issubclass(item.cls, HttpCase)]
    config.hook.pytest_deselected(items=served)
    items[:] = [item for item in items if item not in served]
