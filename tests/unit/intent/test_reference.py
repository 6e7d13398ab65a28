"""The YAML reference in docs is the one that the models make."""

from __future__ import annotations

from warpd.intent.reference import TARGET, TITLES, reference


def test_it_is_current() -> None:
    assert TARGET.read_text(encoding="utf-8") == reference(), (
        "run `python -m warpd.intent.reference`"
    )


def test_every_part_has_fields() -> None:
    sections = reference().split("\n## ")[1:]
    assert len(sections) == len(TITLES)
    assert all(section.count("\n| `") >= 2 for section in sections)
