"""Contact sheets: clips as rows of frames in one picture, to be seen at a glance."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from motionmatcher.clips.labels import LINE_HEIGHT, draw_line, wrap
from motionmatcher.clips.video import Frames
from motionmatcher.files import atomic_path

LABEL_HEIGHT = 18  # of one line; each further one adds its height
MAX_LABEL_LINES = 4
MARGIN = 4


def contact_sheet(
    clips: Sequence[Frames],
    labels: Sequence[str],
    max_columns: int = 8,
    frame_height: int = 96,
) -> Frames:
    """Draw clips under each other, each a labelled row of frames.

    Args:
        clips: uint8 (F, H, W, 3) each; lengths and sizes may differ.
        labels: One text a clip, written above its row, in several lines where it is long.
        max_columns: Most frames shown of a clip; longer ones are thinned evenly.
        frame_height: Pixels; frames are scaled to it, whatever their own height.

    Returns:
        One picture, uint8 (height, width, 3).
    """
    from PIL import Image, ImageDraw

    rows = [_row(clip, max_columns, frame_height) for clip in clips]
    width = max(row.shape[1] for row in rows)
    lines = [wrap(label, width - 2 * MARGIN, MAX_LABEL_LINES) for label in labels]
    num_lines = sum(map(len, lines))
    row_height = LABEL_HEIGHT - LINE_HEIGHT + frame_height + MARGIN  # without the label's lines
    sheet = Image.new("RGB", (width, num_lines * LINE_HEIGHT + len(rows) * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    top = 0
    for row, label_lines in zip(rows, lines, strict=True):
        for index, line in enumerate(label_lines):
            draw_line(draw, MARGIN, top + 2 + index * LINE_HEIGHT, line)
        sheet.paste(
            Image.fromarray(row), (0, top + LABEL_HEIGHT + (len(label_lines) - 1) * LINE_HEIGHT)
        )
        top += row_height + len(label_lines) * LINE_HEIGHT
    return np.asarray(sheet)


def write_contact_sheet(
    path: Path | str, clips: Sequence[Frames], labels: Sequence[str], **layout: int
) -> None:
    """Write a contact sheet as a PNG file; the arguments are those of `contact_sheet`."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(contact_sheet(clips, labels, **layout)).save(temporary)


def _row(clip: Frames, max_columns: int, frame_height: int) -> Frames:
    from PIL import Image

    columns = min(len(clip), max_columns)
    indices = np.linspace(0, len(clip) - 1, columns).round().astype(int)
    frame_width = max(round(clip.shape[2] * frame_height / clip.shape[1]), 1)
    # Small clips keep their pixels visible, large ones are averaged down.
    enlarging = frame_height >= clip.shape[1]
    resampling = Image.Resampling.NEAREST if enlarging else Image.Resampling.LANCZOS
    row = np.full((frame_height, columns * (frame_width + MARGIN) + MARGIN, 3), 255, np.uint8)
    for column, index in enumerate(indices):
        left = MARGIN + column * (frame_width + MARGIN)
        frame = Image.fromarray(clip[index]).resize((frame_width, frame_height), resampling)
        row[:, left : left + frame_width] = np.asarray(frame)
    return row
