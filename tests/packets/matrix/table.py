"""The table of the matrix: what was to arrive and did, what was not to and did not, per type and
mode.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..tally import Row, Tally


def table(tally: Tally) -> Iterator[str]:
    """One block a mode, a column a type, a row a category; a cell reads `delivered/allowed
    delivered/forbidden`.
    """
    cells = {
        (name.partition(" ")[2], name.partition(" ")[0]): row for name, row in tally.rows.items()
    }
    total = Row()
    for mode in ("ns", "vrf"):
        columns = sorted({column for _row, column in cells if column.endswith(f"/{mode}")})
        rows = sorted(
            {row for row, column in cells if column in columns}, key=lambda row: (row[3:], row[:2])
        )
        if not columns:
            continue
        yield f"{'delivered of allowed, of forbidden':<64}" + "".join(
            f"{column:>22}" for column in columns
        )
        for row in rows:
            yield f"{row:<64}" + "".join(
                f"{cell(cells.get((row, column))):>22}" for column in columns
            )
    for counted in tally.rows.values():
        total.allowed += counted.allowed
        total.allowed_delivered += counted.allowed_delivered
        total.forbidden += counted.forbidden
        total.forbidden_delivered += counted.forbidden_delivered
    yield f"allowed delivered {total.allowed_delivered} of {total.allowed}"
    yield f"forbidden delivered {total.forbidden_delivered} of {total.forbidden}"


def cell(row: Row | None) -> str:
    if row is None:
        return "-"
    passed = f"{row.allowed_delivered}/{row.allowed}" if row.allowed else "-"
    leaked = f"{row.forbidden_delivered}/{row.forbidden}" if row.forbidden else "-"
    return f"{passed}  {leaked}"
