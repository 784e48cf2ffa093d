"""What a reference clip is like before it is trained on: cuts, repeats, bars, motion, better frames.

from motionmatcher.inspection import inspect_clip

print(*inspect_clip("clip.mp4").notes, sep="\\n")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motionmatcher.inspection.report import ClipReport, inspect_clip

__all__ = ["ClipReport", "inspect_clip"]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the modules behind it load slowly."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from motionmatcher.environment import settle_environment

    settle_environment()
    from motionmatcher.inspection import report

    return getattr(report, name)
