"""A picture of windows of a clip: their frames, and curves of what moves in them."""

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from motionmatcher.clips.clip_file import ClipFile, Frames
from motionmatcher.clips.contact_sheet import contact_sheet
from motionmatcher.files import atomic_path
from motionmatcher.inspection.windows import FAST_STEP, Window
from motionmatcher.inspection.wording import describe_motion, name_with_cuts

if TYPE_CHECKING:
    from motionmatcher.inspection.report import ClipReport

FRAME_HEIGHT = 96
CURVE_HEIGHT = 64
MARGIN = 4
CAMERA_COLOUR, OBJECT_COLOUR, LIMIT_COLOUR = "#1f77b4", "#d62728", "#cccccc"
# Percent of the diagonal; the curves of what moves less than this are flat, for it is noise.
LEAST_TOP = 1.0


def write_sheet(path: Path, report: "ClipReport") -> None:
    """Write a PNG file of a report's candidates, or of the frames that are read where it has none.

    Raises:
        UserError: The clip has changed, or the file cannot be written.
    """
    from PIL import Image

    clip = ClipFile(report.path, report.fps)
    windows = report.candidates or (report.window,)
    top = max([LEAST_TOP, *(speed for window in windows for speed in window.speeds)])
    parts = [_draw(clip, place, window, top) for place, window in enumerate(windows, 1)]
    width = max(part.shape[1] for part in parts)
    sheet = np.concatenate([_widen(part, width) for part in parts])
    with atomic_path(path) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")


def draw_curves(window: Window, width: int, top: float) -> Frames:
    """Draw the lengths of a window's steps: the camera's in blue, the objects' in red.

    Args:
        window: What is drawn; a grey line is at `FAST_STEP`, where that is in sight.
        width: Pixels.
        top: Length at the top, in percent of the diagonal.

    Returns:
        uint8 (CURVE_HEIGHT, width, 3).
    """
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (width, CURVE_HEIGHT), "white")
    draw = ImageDraw.Draw(picture)

    def height(speed: float) -> float:
        return CURVE_HEIGHT - 1 - MARGIN - (CURVE_HEIGHT - 1 - 2 * MARGIN) * speed / top

    if top >= FAST_STEP:
        draw.line([(0, height(FAST_STEP)), (width, height(FAST_STEP))], LIMIT_COLOUR)
    x = np.linspace(MARGIN, width - 1 - MARGIN, max(len(window.speeds), 2)).tolist()
    for speeds, colour in ((window.camera, CAMERA_COLOUR), (window.objects, OBJECT_COLOUR)):
        if len(speeds) == 1:
            speeds = speeds * 2
        draw.line(
            [(left, height(speed)) for left, speed in zip(x, speeds, strict=False)], colour, 2
        )
    return np.asarray(picture)


def _draw(clip: ClipFile, place: int, window: Window, top: float) -> Frames:
    start, wanted = window.frames[0], set(window.frames)
    shown = {
        index: _shrink(picture)
        for index, picture in enumerate(clip.stream(start, window.frames[-1] + 1), start)
        if index in wanted
    }
    frames = np.stack([shown[index] for index in window.frames])
    label = (
        f"{place}. {name_with_cuts(window)}\n{describe_motion(window)}\n"
        f"curves: camera blue, objects red, {top:.1f} % at the top"
    )
    sheet = contact_sheet([frames], [label], frame_height=FRAME_HEIGHT)
    return np.concatenate([sheet, draw_curves(window, sheet.shape[1], top)])


def _shrink(picture: Frames) -> Frames:
    height, width = picture.shape[:2]
    size = max(round(width * FRAME_HEIGHT / height), 1), FRAME_HEIGHT
    larger = height < FRAME_HEIGHT
    return cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST if larger else cv2.INTER_AREA)


def _widen(part: Frames, width: int) -> Frames:
    return np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=255)
