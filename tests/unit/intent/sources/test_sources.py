"""The registry of sources: each is told from the others by its key."""

from __future__ import annotations

import pytest

from warpd.intent.source import SourceSettings
from warpd.intent.sources import SOURCES, Pointer, pointer_model


def test_the_key_of_one_is_a_field_of_no_other() -> None:
    for settings in SOURCES:
        others = [each for each in SOURCES if each is not settings]
        assert settings.model_fields[settings.KEY].is_required()
        assert settings.model_fields[settings.KEY].description
        assert not any(settings.KEY in each.model_fields for each in others)


@pytest.mark.parametrize("settings", SOURCES, ids=lambda settings: settings.KEY)
def test_a_file_is_read_by_the_source_whose_key_it_has(settings: type[SourceSettings]) -> None:
    assert pointer_model({"source": {settings.KEY: "any"}}) is Pointer[settings]  # type: ignore[valid-type]


@pytest.mark.parametrize("body", [None, "text", {}, {"unknown": 1}])
def test_a_file_with_the_key_of_none_is_read_by_the_first(body: object) -> None:
    assert pointer_model({"source": body}) is Pointer[SOURCES[0]]  # type: ignore[valid-type]  # as above
