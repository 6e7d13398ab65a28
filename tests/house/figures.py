"""Figures of the house: how the package is laid out and how dense it is.

    python tests/house/figures.py            print them as JSON
    python tests/house/figures.py --write    keep them as limits (test_figures.py)

Every figure is such that less is better, but for the lines of documentation.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = REPOSITORY / "warpd"
LIMITS: Final = Path(__file__).with_name("limits.json")
LONG_LINE: Final = 100  # characters
COMPLEX: Final = 10  # branches of a function, and one
MORE_IS_BETTER: Final = frozenset(
    {"documentation lines per code line", "tests that construct the Reconciler"}
)

BRANCHES: Final = (
    ast.If,
    ast.For,
    ast.While,
    ast.ExceptHandler,
    ast.IfExp,
    ast.comprehension,
    ast.Assert,
    ast.match_case,
)
COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
TYPE_NAME: Final = re.compile(
    r"secure-internet|remote-resource-gateway|l3vpn-gateway|l2-point-to-point|l2-mesh"
)
KERNEL_NAME: Final = re.compile(r"\b(?:warp|wg|vrf|br|gt|vx|up|dn)-\{")


def sources() -> Iterator[tuple[Path, str]]:
    """Every module of the package, by its path inside it, with its text."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE), path.read_text(encoding="utf-8")


def complexity(function: ast.AST) -> int:
    """McCabe's number of a function, those inside it included: one, and one for each place where
    the way may part.
    """
    number = 1
    for node in ast.walk(function):
        if isinstance(node, BRANCHES):
            number += 1
        elif isinstance(node, ast.BoolOp):
            number += len(node.values) - 1
    return number


def line_counts(text: str) -> tuple[int, int]:
    """(lines of code, lines of documentation) of a module; docstrings and comments are
    documentation.
    """
    docstrings: set[int] = set()
    comments: set[int] = set()
    code: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS))
            and ast.get_docstring(node) is not None
        ):
            first = node.body[0]
            docstrings.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.string.strip() and token.type not in (tokenize.NL, tokenize.ENDMARKER):
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings), len(docstrings | comments)


def layers() -> int:
    """How many layers the import contract with the most of them has."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    return max(len(contract.get("layers", ())) for contract in contracts)


def strings(text: str) -> Iterator[str]:
    """The text of every string that is no docstring."""
    tree = ast.parse(text)
    documented = [
        node for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS))
    ]
    docstrings = {
        id(node.body[0].value) for node in documented if isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ):
            yield node.value


def files_with_type_names() -> int:
    """Modules outside the types' own room that decide by the name of a network type."""
    count = 0
    for path, text in sources():
        if path.parts[:2] == ("networks", "types"):
            continue
        count += any(TYPE_NAME.fullmatch(string) for string in strings(text))
    return count


def files_with_kernel_names() -> int:
    """Modules that build a name of ours that the kernel sees."""
    return sum(bool(KERNEL_NAME.search(text)) for _path, text in sources())


def object_kinds() -> set[str]:
    """Names of the classes of object kinds, and of what several of them derive from."""
    found = {"KernelObject"}
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for path, text in sources()
        if path.parts[:2] == ("kernel", "kinds")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    }
    while more := {name for name, of in bases.items() if of & found} - found:
        found |= more
    return found - {"KernelObject"}


def names_in(node: ast.AST) -> set[str]:
    """Every name in an expression, also those that are reached through a module."""
    plain = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
    return plain | {item.attr for item in ast.walk(node) if isinstance(item, ast.Attribute)}


def decides_by_kind(node: ast.AST, kinds: set[str]) -> bool:
    """Whether a node is a question which object kind something is.

    That is isinstance with the class of one, a class pattern, a comparison with `type(...)`, with
    the `KIND` of one, or of the kind in a key.
    """
    if isinstance(node, ast.MatchClass):
        return bool(names_in(node.cls) & kinds)
    if isinstance(node, ast.Call):
        asks = isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass")
        return asks and bool(names_in(node.args[1]) & kinds)
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    of_key = any(ast.unparse(side).endswith("key.kind") for side in sides)
    return (
        of_key
        or "KIND" in names_in(node)
        or bool({"type"} & names_in(node) and names_in(node) & kinds)
    )


def files_with_object_kinds() -> int:
    """Modules outside the kinds' own room and the codecs that decide by an object kind."""
    kinds = object_kinds()
    own = {("kernel", "kinds"), ("kernel", "netlink"), ("kernel", "nftables")}
    return sum(
        any(decides_by_kind(node, kinds) for node in ast.walk(ast.parse(text)))
        for path, text in sources()
        if path.parts[:2] not in own
    )


def foreign_names(tree: ast.Module) -> set[str]:
    """Names that a module has imported from packages of others."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not is_ours(node.module or ""):
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if not is_ours(name)}


def is_ours(module: str) -> bool:
    top = module.partition(".")[0]
    return top == "warpd" or top in sys.stdlib_module_names


CALLED: Final = "()"


def root_of(node: ast.expr) -> str:
    """The name that an attribute, or an item, is one of; CALLED for one of what a call has
    given.
    """
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    if isinstance(node, ast.Call):
        return CALLED
    return node.id if isinstance(node, ast.Name) else ""


def is_patch(target: ast.expr, foreign: set[str]) -> bool:
    """Whether an assignment to this changes a library; an item of what a call has given does
    not.
    """
    if isinstance(target, ast.Subscript):
        is_module = ast.unparse(target).startswith("sys.modules[")
        return is_module or root_of(target) in foreign - {CALLED}
    return isinstance(target, ast.Attribute) and root_of(target) in foreign


def patches(text: str) -> int:
    """Places that change what belongs to a library: an attribute of its, or `sys.modules`."""
    tree = ast.parse(text)
    foreign, count = foreign_names(tree) | {CALLED}, 0
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else []
        for target in targets:
            count += is_patch(target, foreign)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr":
            count += root_of(node.args[0]) in foreign
    return count


def constructing_tests() -> int:
    """Test modules that construct the Reconciler."""
    paths = (REPOSITORY / "tests").rglob("test_*.py")
    return sum(
        bool(re.search(r"\bReconciler\(", path.read_text(encoding="utf-8"))) for path in paths
    )


def figures() -> dict[str, float]:
    """All figures by name."""
    counts: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    for _path, text in sources():
        code, documentation = line_counts(text)
        counts["code"] += code
        counts["documentation"] += documentation
        counts["lines"] += len(text.splitlines())
        counts["long"] += sum(len(line) > LONG_LINE for line in text.splitlines())
        for node in ast.walk(ast.parse(text)):
            counts["branches"] += isinstance(node, BRANCHES)
            counts["comprehensions"] += isinstance(node, COMPREHENSIONS)
            counts["ternaries"] += isinstance(node, ast.IfExp)
            counts["complex"] += isinstance(node, FUNCTIONS) and complexity(node) > COMPLEX
            if isinstance(node, ast.ClassDef):
                classes[node.name] += 1
    per_hundred = {
        name: round(100 * counts[name] / counts["code"], 1)
        for name in ("branches", "comprehensions", "ternaries")
    }
    return {
        "modules at the top": len(list(PACKAGE.glob("*.py"))),
        "layers": layers(),
        "branches per 100 code lines": per_hundred["branches"],
        "comprehensions per 100 code lines": per_hundred["comprehensions"],
        "ternaries per 100 code lines": per_hundred["ternaries"],
        "percent of lines over 100 characters": round(100 * counts["long"] / counts["lines"], 1),
        "functions with a complexity above 10": counts["complex"],
        "documentation lines per code line": round(counts["documentation"] / counts["code"], 2),
        "class names defined twice": sum(number > 1 for number in classes.values()),
        "files outside its room that name a network type": files_with_type_names(),
        "files outside its room that name an object kind": files_with_object_kinds(),
        "files that build a kernel name": files_with_kernel_names(),
        "tests that construct the Reconciler": constructing_tests(),
        "places that patch a library": sum(patches(text) for _path, text in sources()),
    }


def main() -> None:
    text = json.dumps(figures(), indent=2)
    print(text)
    if "--write" in sys.argv[1:]:
        LIMITS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
