"""Notice NaN and infinity before they are saved or shown."""

import torch
from torch import Tensor

from motionmatcher.errors import NotFiniteError


def is_finite(values: Tensor) -> bool:
    """Tell whether no value is NaN or infinite, in one pass that makes no copy.

    Args:
        values: Floating-point, of any shape.
    """
    if values.numel() == 0:
        return True
    ends = torch.stack(torch.aminmax(values.detach()))  # a NaN anywhere makes both NaN
    return bool(torch.isfinite(ends).all())


def require_finite(values: Tensor, what: str, advice: str) -> None:
    """Refuse a result that is not finite.

    Args:
        values: Floating-point, of any shape.
        what: Names them.
        advice: What to do about it.

    Raises:
        NotFiniteError: Some value is NaN or infinite.
    """
    if not is_finite(values):
        raise NotFiniteError(f"NaN or infinity in {what}: {advice}")
