"""Builds in which one check of rights is missing: `python -m tests.promises.unchecked N serve`.

Every place in the source that asks what a token may is found by its syntax, so that a new one is
tried as well without being named here.
"""

import ast
import sys
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

SOURCE = Path(__file__).parent.parent.parent / "src"
FOLDERS = ("promint/service", "promint/web")
YES = {"opens_program", "opens_database", "allows", "_is_within"}
"""What answers whether something is allowed."""
NOTHING = {"check_program", "check_database", "check_sees_all", "check_scope"}
"""What refuses if it is not."""


@dataclass(frozen=True)
class Site:
    """One place where rights are looked at."""

    module: str
    line: int
    column: int
    what: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.what}"


def sites() -> list[Site]:
    """Return every place, in order."""
    found = []
    for folder in FOLDERS:
        for path in sorted((SOURCE / folder).rglob("*.py")):
            module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
            finder = _Walker(module)
            finder.visit(ast.parse(path.read_text("utf-8")))
            found += finder.sites
    return found


class _Walker(ast.NodeTransformer):
    """Finds the places of a module; takes the check away at one of them."""

    def __init__(self, module: str, unchecked: Site | None = None) -> None:
        self.module = module
        self.sites: list[Site] = []
        self._unchecked = unchecked

    def visit_Call(self, node: ast.Call) -> Any:
        owner = getattr(node.func, "value", None)
        is_module = isinstance(owner, ast.Name) and owner.id == "programs"
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in YES or (name in NOTHING and not is_module):
            return self._place(node, name, "True" if name in YES else "None")
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        if node.attr in YES:
            return self._place(node, node.attr, "(lambda _: True)")
        return self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> Any:
        value = node.value
        if isinstance(value, ast.Attribute) and ast.unparse(value).endswith(
            ("token.programs", "token.databases")
        ):
            node.value = self._place(value, f"{node.arg}=", "None")
            return node
        return self.generic_visit(node)

    def _place(self, node: Any, what: str, instead: str) -> Any:
        site = Site(self.module, node.lineno, node.col_offset, what)
        self.sites.append(site)
        if site != self._unchecked:
            return node
        return ast.copy_location(ast.parse(instead, mode="eval").body, node)


class _Loader(SourceFileLoader):
    """Reads one module without its check."""

    def __init__(self, name: str, path: str, site: Site) -> None:
        super().__init__(name, path)
        self._site = site

    def get_code(self, fullname: str) -> CodeType:
        walker = _Walker(fullname, self._site)
        tree = walker.visit(ast.parse(self.get_data(self.path)))
        assert self._site in walker.sites
        return compile(ast.fix_missing_locations(tree), self.path, "exec")


class _Finder(MetaPathFinder):
    def __init__(self, site: Site) -> None:
        self._site = site

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != self._site.module:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self._site)
        return spec


def main() -> None:
    """Leave a check out, then do what `promint` does."""
    site = sites()[int(sys.argv.pop(1))]
    sys.meta_path.insert(0, _Finder(site))

    from promint.cli import main as promint

    promint()


if __name__ == "__main__":
    main()
