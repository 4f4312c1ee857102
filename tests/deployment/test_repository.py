"""What a hosting site and developers' tools read of the repository: requirements, hooks, the workflow, templates."""

from support.system import REPOSITORY


def test_requirements():
    """Hosts that install the root's requirements.txt install what the manifest asks for, in Odoo's versions."""
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    manifest = eval((REPOSITORY / "wechat_merchant_bind" / "__manifest__.py").read_text())
    assert packages == sorted(manifest["external_dependencies"]["python"])
