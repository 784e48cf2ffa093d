"""Contact sheets show clips as labelled rows of frames."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motionmatcher.clips.contact_sheet import (
    LABEL_HEIGHT,
    MARGIN,
    MAX_LABEL_LINES,
    contact_sheet,
    write_contact_sheet,
)
from motionmatcher.clips.labels import LINE_HEIGHT
from motionmatcher.clips.video import Frames


def levels(num_frames: int, height: int, width: int) -> Frames:
    """Frame i is 10 * (i + 1) everywhere."""
    values = (np.arange(num_frames, dtype=np.uint8) + 1) * 10
    return np.broadcast_to(values[:, None, None, None], (num_frames, height, width, 3)).copy()


def shown(sheet: Frames, row: int, frame_width: int, frame_height: int, columns: int) -> list[int]:
    """The frames' levels in a row, read at their centres."""
    top = row * (LABEL_HEIGHT + frame_height + MARGIN) + LABEL_HEIGHT
    y = top + frame_height // 2
    lefts = [MARGIN + column * (frame_width + MARGIN) for column in range(columns)]
    return [int(sheet[y, left + frame_width // 2, 0]) for left in lefts]


def test_every_frame_is_in_its_place() -> None:
    sheet = contact_sheet([levels(3, 12, 20), levels(2, 24, 24)], ["a", "b"], frame_height=24)
    row_height = LABEL_HEIGHT + 24 + MARGIN
    assert sheet.shape == (2 * row_height, 3 * (40 + MARGIN) + MARGIN, 3)
    assert sheet.dtype == np.uint8
    assert shown(sheet, 0, 40, 24, 3) == [10, 20, 30]
    assert shown(sheet, 1, 24, 24, 2) == [10, 20]
    first_frame = sheet[LABEL_HEIGHT : LABEL_HEIGHT + 24, MARGIN : MARGIN + 40]
    assert (first_frame == 10).all()
    assert (sheet[LABEL_HEIGHT : LABEL_HEIGHT + 24, :MARGIN] == 255).all()


def test_long_clips_are_thinned_evenly_from_first_to_last() -> None:
    sheet = contact_sheet([levels(13, 16, 16)], ["long"], max_columns=4, frame_height=16)
    assert shown(sheet, 0, 16, 16, 4) == [10, 50, 90, 130]


def test_one_column_shows_the_first_frame() -> None:
    sheet = contact_sheet([levels(5, 16, 16)], ["1"], max_columns=1, frame_height=16)
    assert shown(sheet, 0, 16, 16, 1) == [10]


def test_labels_are_written_above_their_rows() -> None:
    clips = [levels(4, 16, 16)] * 2
    sheet = contact_sheet(clips, ["", "label"], frame_height=16)
    row_height = LABEL_HEIGHT + 16 + MARGIN
    assert (sheet[:LABEL_HEIGHT] == 255).all()
    assert (sheet[row_height : row_height + LABEL_HEIGHT] < 128).any()


def test_a_long_label_moves_its_row_and_those_below_down() -> None:
    clips = [levels(4, 16, 16)] * 3
    sheet = contact_sheet(clips, ["a", "two\nlines", "word " * 99], frame_height=16)
    row_height = LABEL_HEIGHT + 16 + MARGIN
    frame_tops = [
        LABEL_HEIGHT,
        LABEL_HEIGHT + row_height + LINE_HEIGHT,
        LABEL_HEIGHT + 2 * row_height + MAX_LABEL_LINES * LINE_HEIGHT,
    ]
    assert len(sheet) == frame_tops[2] + 16 + MARGIN
    for top in frame_tops:
        assert (sheet[top : top + 16, MARGIN : MARGIN + 16] == 10).all()
        assert (sheet[top : top + 16, :MARGIN] == 255).all()
        assert (sheet[top - LINE_HEIGHT : top] < 128).any(), "the last line of its label"


def test_every_clip_needs_a_label() -> None:
    with pytest.raises(ValueError, match="shorter than argument 1"):
        contact_sheet([levels(2, 8, 8)] * 2, ["only one"])


def test_the_file_holds_the_picture(tmp_path: Path) -> None:
    clips, labels = [levels(3, 12, 20)], ["a clip"]
    path = tmp_path / "samples" / "sheet.png"
    write_contact_sheet(path, clips, labels, frame_height=24)
    assert np.array_equal(
        np.asarray(Image.open(path)), contact_sheet(clips, labels, frame_height=24)
    )
    assert list(path.parent.iterdir()) == [path]
