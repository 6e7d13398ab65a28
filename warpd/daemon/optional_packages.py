"""Load a library without a package that it would use where it is installed.

By the import system's own hook (importlib.abc.MetaPathFinder): no module of anybody is changed, and
the library does what it does on a machine where the optional package is not installed.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class Hidden(MetaPathFinder):
    """Finds these packages nowhere."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        """Leave everything else to the finders behind this one.

        Raises: ModuleNotFoundError for a package that is hidden.
        """
        if fullname in self._names:
            raise ModuleNotFoundError(f"{fullname} is not loaded here", name=fullname)


@contextlib.contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Packages that cannot be imported meanwhile; one that is loaded already stays loaded."""
    finder = Hidden(frozenset(names))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
