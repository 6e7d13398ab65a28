"""One suite, two kernels: the one in memory always, the live one where the `live` tests run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.conftest import gateway  # noqa: F401  # the live kernel's own fixture
from warpd.kernel.api import Kernel
from warpd.testing.fake_kernel import FakeKernel


@pytest.fixture(
    params=["memory", pytest.param("live", marks=[pytest.mark.live, pytest.mark.stock])]
)
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    if request.param == "memory":
        yield FakeKernel()
    else:
        yield request.getfixturevalue("gateway")
