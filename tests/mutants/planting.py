"""Plant a mistake in a function of the product, which is found by its name and not by its place in
a file.

Code is compared and replaced as a syntax tree: layout, quotes and comments play no part.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class NoPlaceError(Exception):
    """The function is gone, or the right code is not exactly once in it: the mutant must follow the
    product.
    """


@dataclass(frozen=True, slots=True)
class Edit:
    """One mistake.

    where: `package.module:Class.method`, or `package.module:` for the module as a whole.
    right: an expression, or one statement, that is in there exactly once.
    wrong: what stands there instead; None takes it out of the list, the call or the block that it
    is in.
    """

    where: str
    right: str
    wrong: str | None

    @property
    def module(self) -> str:
        return self.where.partition(":")[0]

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(filter(None, self.where.partition(":")[2].split(".")))


def file_of(edit: Edit) -> Path:
    """The file of the edit's module, relative to the repository."""
    return Path(*edit.module.split(".")).with_suffix(".py")


def plant(text: str, edit: Edit) -> str:
    """Return the module's text with the mistake in it. Raise NoPlaceError where it does not fit."""
    module = ast.parse(text)
    scope = _scope(module, edit)
    planter = _Planter(edit)
    planter.visit(scope)
    if planter.places != 1:
        raise NoPlaceError(
            f"{edit.where}: the right code is there {planter.places} times: {edit.right}"
        )
    return ast.unparse(module)


def _scope(module: ast.Module, edit: Edit) -> Scope:
    scope: Scope = module
    for name in edit.path:
        inner = [node for node in ast.walk(scope) if _defines(node, name)]
        if len(inner) != 1:
            raise NoPlaceError(f"{edit.where}: {name} is defined {len(inner)} times")
        scope = inner[0]
    return scope


def _defines(node: ast.AST, name: str) -> bool:
    return (
        isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name == name
    )


class _Planter(ast.NodeTransformer):
    """Put the wrong code wherever the right code stands, and count the places."""

    def __init__(self, edit: Edit) -> None:
        self.places = 0
        self._right = ast.dump(_parsed(edit.right))
        self._wrong = None if edit.wrong is None else _parsed(edit.wrong)

    def visit(self, node: ast.AST) -> ast.AST | None:
        if ast.dump(_bare(node)) != self._right:
            return self.generic_visit(node)
        self.places += 1
        if isinstance(node, ast.Expr) and isinstance(self._wrong, ast.expr):
            return ast.Expr(self._wrong)
        return self._wrong


def _parsed(code: str) -> ast.AST:
    """A statement, or the expression that the code consists of."""
    return _bare(ast.parse(code).body[0])


def _bare(node: ast.AST) -> ast.AST:
    return node.value if isinstance(node, ast.Expr) else node
