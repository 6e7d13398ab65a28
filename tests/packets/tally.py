"""What was sent, what should have come of it and what did: the counts behind the verdict.

A forbidden probe counts as delivered when its marker was seen anywhere it must not be. The order is
fixed: send all, then a *fence* (an allowed packet by the same way, waited for), then look: what was
to arrive has arrived by then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Row:
    allowed: int = 0
    allowed_delivered: int = 0
    forbidden: int = 0
    forbidden_delivered: int = 0


@dataclass(slots=True)
class Tally:
    """Counts per category, for the table at the end."""

    rows: dict[str, Row] = field(default_factory=lambda: defaultdict(Row))

    def allowed(self, category: str, results: Iterable[tuple[str, bool]]) -> list[str]:
        """Count probes that had to pass; those that did not, as text."""
        done = list(results)
        row = self.rows[category]
        row.allowed += len(done)
        row.allowed_delivered += sum(passed for _what, passed in done)
        return [f"lost: {what}" for what, passed in done if not passed]

    def forbidden(self, category: str, results: Iterable[tuple[str, bool]]) -> list[str]:
        """Count probes that had to be stopped; those that were not, as text."""
        done = list(results)
        row = self.rows[category]
        row.forbidden += len(done)
        row.forbidden_delivered += sum(passed for _what, passed in done)
        return [f"delivered: {what}" for what, passed in done if passed]

    def table(self) -> list[str]:
        lines = [f"{'category':<34}{'allowed delivered':>20}{'forbidden delivered':>22}"]
        total = Row()
        for name, row in sorted(self.rows.items()):
            lines.append(line(name, row))
            total.allowed += row.allowed
            total.allowed_delivered += row.allowed_delivered
            total.forbidden += row.forbidden
            total.forbidden_delivered += row.forbidden_delivered
        return [*lines, line("all", total)]


def line(name: str, row: Row) -> str:
    passed = f"{row.allowed_delivered} of {row.allowed}" if row.allowed else "-"
    leaked = f"{row.forbidden_delivered} of {row.forbidden}" if row.forbidden else "-"
    return f"{name:<34}{passed:>20}{leaked:>22}"


TALLY = Tally()
