"""A clip's report in words."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from motionmatcher.inspection.windows import Window, list_frames

if TYPE_CHECKING:
    from motionmatcher.inspection.report import ClipReport


def describe(report: "ClipReport") -> Iterator[str]:
    """Write a report's values, a line each; its notes are not among them."""
    rate = "taken at even steps, for its rate varies" if report.varies else "constant rate"
    shown = [f"{report.num_frames} frames, {report.fps:g} fps ({rate})"]
    shown.append(f"{report.width}x{report.height}")
    if report.turn:
        shown.append(f"turned {report.turn}")
    if report.pixel_aspect != 1:
        shown.append(f"pixels {report.pixel_aspect:.4g} times as wide as high, made square")
    yield f"{report.path}: {', '.join(shown)}"
    yield f"looked at: {name_frames(report.window)}"
    yield f"cuts: {_counted(report.window.cuts)}; repeated frames: {_counted(report.window.repeats)}"
    yield f"motion: {describe_motion(report.window)}; on its own moves {report.moving:.0%} of the picture"
    for place, window in enumerate(report.candidates, 1):
        yield f"candidate {place}: {name_with_cuts(window)}; {describe_motion(window)}"
    if report.overrides:
        yield f"better: {' '.join(report.overrides)}"
    elif report.candidates:
        yield "better: none by much; keep these frames"


def _counted(frames: Sequence[int]) -> str:
    return f"{len(frames)} ({list_frames(frames)})" if frames else "none"


def name_frames(window: Window) -> str:
    """Say which frames a window has."""
    frames = list(map(str, window.frames))
    if len(frames) > 3:
        frames = [f"{frames[0]}, {frames[1]} … {frames[-1]}"]
    return f"{len(window.frames)} frames ({', '.join(frames)})"


def name_with_cuts(window: Window) -> str:
    """Say which frames a window has, and which of them begin another scene."""
    cuts = f", a cut at {list_frames(window.cuts)}" if window.cuts else ""
    return f"{name_frames(window)}{cuts}"


def describe_motion(window: Window) -> str:
    """Say how much moves in a window, in percent of the diagonal."""
    camera, objects = sum(window.camera), sum(window.objects)
    fastest = max(window.speeds, default=0.0)
    return (
        f"camera {camera:.0f} %, objects {objects:.0f} % of the diagonal; in a step "
        f"{window.typical_speed:.1f} %, at most {fastest:.1f} %"
    )
