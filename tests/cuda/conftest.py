"""What a GPU is needed for; each body runs on the CPU too, which shows that it is not broken."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> Iterator["torch.device"]:
    """Where to compute, exactly."""
    import torch

    from motionmatcher.devices import compute_exactly

    found = torch.are_deterministic_algorithms_enabled()
    chosen = torch.device(request.param)
    compute_exactly(chosen)
    yield chosen
    torch.use_deterministic_algorithms(found)
