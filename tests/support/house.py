"""The rules of the house, read from the source of the addon: what imports what, and where a model lives.

tests/house checks them. Nothing of the addon is imported, so no Odoo is needed.
"""

import ast
import functools
import graphlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ADDON = ("odoo", "addons", "wechat_merchant_bind")
# From the ground up. Areas import from lower ones only.
PACKAGES = ("audit", "account", "binding", "inbox", "channel", "outbox", "desk")
TOP = ("controllers", "wizard", "report")
RANKS = {
    "tools": 0,
    "models/const.py": 1,
    **{f"models/{package}": rank for rank, package in enumerate(PACKAGES, 2)},
    **dict.fromkeys(TOP, 2 + len(PACKAGES)),
}
# The packages themselves and const.py are all that models/ holds.
BESIDE_PACKAGES = {"__init__.py", "const.py"}
# Odoo too keeps what it adds to "base" in models.py.
FILES = {"base": "models"}
CONSTANT = re.compile(r"[A-Z][A-Z0-9_]+")


@dataclass(frozen=True)
class Import:
    """A name that a file imports.

    :param module: the dotted path, split; of the addon's own modules, the path inside the addon.
    :param is_own: whether the module is the addon's.
    :param name: what is imported from the module; empty if it is the module itself.
    :param alias: the name by which the file uses it.
    """

    line: int
    module: tuple[str, ...]
    is_own: bool
    name: str
    alias: str


class House:
    """The Python files of the addon, without its tests and migrations."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trees = {
            file.relative_to(root): _parse(file.read_text(encoding="utf-8"))
            for folder in ("tools", "models", *TOP)
            for file in sorted((root / folder).rglob("*.py"))
        }
        self.imports = {file: list(self._imports(file, tree)) for file, tree in self.trees.items()}

    def find_faults(self) -> list[str]:
        """Return what breaks a rule, as FILE:LINE: MESSAGE."""
        return [
            *self.find_stray_files(),
            *self.find_upward_imports(),
            *self.find_import_cycles(),
            *self.find_scattered_constants(),
            *self.find_misplaced_models(),
        ]

    def find_stray_files(self) -> Iterator[str]:
        """Find files of models/ that stand in no package, or in one that has no place in the order."""
        for file in self.trees:
            if file.parts[0] != "models":
                continue
            if len(file.parts) == 2 and file.name not in BESIDE_PACKAGES:
                yield f"{file}:1: stands beside the packages of models/"
            elif len(file.parts) > 2 and file.parts[1] not in PACKAGES:
                yield f"{file}:1: stands in a package that has no place in the order"

    def find_upward_imports(self) -> Iterator[str]:
        """Find imports from the same level or a higher one, and imports of Odoo in the tools."""
        for file, imports in self.imports.items():
            area = _area(file.parts)
            for found in imports:
                if not found.is_own:
                    if area == "tools" and found.module[0] == "odoo":
                        yield f"{file}:{found.line}: a tool imports Odoo"
                    continue
                source = _area(found.module)
                if area in RANKS and source != area and RANKS.get(source, len(RANKS)) >= RANKS[area]:
                    yield f"{file}:{found.line}: {area} imports from {source}"

    def find_import_cycles(self) -> Iterator[str]:
        """Find a cycle of files that import each other, also inside a package."""
        graph = {
            file: {Path(*found.module).with_suffix(".py") for found in imports if found.is_own and found.module}
            for file, imports in self.imports.items()
            if file.name != "__init__.py"
        }
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            cycle = error.args[1]
            yield f"{min(cycle)}:1: imports in a circle: {', '.join(sorted(map(str, set(cycle))))}"

    def find_scattered_constants(self) -> Iterator[str]:
        """Find constants of a package of models/ that another package imports: they belong in const.py."""
        for file, imports in self.imports.items():
            own = (_area(file.parts), "models/const.py")
            foreign = [
                found
                for found in imports
                if found.is_own and found.module[:1] == ("models",) and _area(found.module) not in own
            ]
            for found in foreign:
                if CONSTANT.fullmatch(found.name):
                    yield f"{file}:{found.line}: imports the constant {found.name} from {_area(found.module)}"
            modules = {found.alias: found for found in foreign if not found.name}
            for node in ast.walk(self.trees[file]) if modules else ():
                if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                    continue
                if node.value.id in modules and CONSTANT.fullmatch(node.attr):
                    source = _area(modules[node.value.id].module)
                    yield f"{file}:{node.lineno}: uses the constant {node.attr} of {source}"

    def find_misplaced_models(self) -> Iterator[str]:
        """Find models in a file of another name, and models with two files in one package."""
        places: dict[tuple[str, str], Path] = {}
        for file, tree in self.trees.items():
            if file.parts[0] != "models":
                continue
            for node in tree.body:
                model = _model(node) if isinstance(node, ast.ClassDef) else None
                if not model:
                    continue
                name = FILES.get(model, model.replace(".", "_"))
                if file.stem != name:
                    yield f"{file}:{node.lineno}: the model {model} belongs in {name}.py"
                first = places.setdefault((_area(file.parts), model), file)
                if first != file:
                    yield f"{file}:{node.lineno}: the model {model} has a file in this package: {first}"

    def _imports(self, file: Path, tree: ast.Module) -> Iterator[Import]:
        """Iterate over all imports of a file, also those inside functions."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    module, is_own = _own(tuple(name.name.split(".")))
                    yield Import(node.lineno, module, is_own, "", name.asname or name.name)
            elif isinstance(node, ast.ImportFrom):
                parts = tuple(node.module.split(".")) if node.module else ()
                module, is_own = _own(parts) if not node.level else (file.parts[: -node.level] + parts, True)
                for name in node.names:
                    alias = name.asname or name.name
                    path = self.root.joinpath(*module, name.name)
                    if is_own and (path.is_dir() or path.with_suffix(".py").is_file()):
                        yield Import(node.lineno, (*module, name.name), True, "", alias)
                    else:
                        yield Import(node.lineno, module, is_own, name.name, alias)


@functools.cache
def _parse(source: str) -> ast.Module:
    """Return the syntax tree of a source text. The tests read the same files again and again."""
    return ast.parse(source)


def _own(module: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Return a module's path inside the addon and True if it is the addon's, else the module and False."""
    if module[: len(ADDON)] == ADDON:
        return module[len(ADDON) :], True
    return module, False


def _area(parts: tuple[str, ...]) -> str:
    """Return the area of a module or a file, as RANKS names it; the addon itself is the empty string."""
    if len(parts) < 2 or parts[0] != "models":
        return parts[0] if parts else ""
    package = parts[1].removesuffix(".py")
    return "models/const.py" if package == "const" else f"models/{package}" if package != "__init__" else "models"


def _model(node: ast.ClassDef) -> str | None:
    """Return the model that a class defines or extends."""
    values = {
        target.id: ast.literal_eval(item.value)
        for item in node.body
        if isinstance(item, ast.Assign)
        for target in item.targets
        if isinstance(target, ast.Name) and target.id in ("_name", "_inherit")
    }
    inherited = values.get("_inherit")
    if isinstance(inherited, list | tuple):
        inherited = inherited[0] if len(inherited) == 1 else None
    return values.get("_name") or inherited
