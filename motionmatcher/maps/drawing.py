"""Sheets and animations of what the features see."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from motionmatcher.clips.clip_file import Frames
from motionmatcher.clips.contact_sheet import contact_sheet
from motionmatcher.maps.heat import FRAME_HEIGHT, overlay
from motionmatcher.maps.reading import ReferenceMaps, displacements, own_frame
from motionmatcher.maps.words import Word

MAX_COLUMNS = 16
# Words drawn where none are asked for.
MAX_WORDS = 6
ARROW_COLOUR = 255, 220, 0
# The longest arrow of a sheet, in places: attention averages over whole frames, so it moves by a small
# part of what things do.
LONGEST_ARROW = 0.8


@dataclass(frozen=True)
class Row:
    """A row of a sheet.

    Attributes:
        label: What it shows.
        pictures: uint8 (F, H, W, 3).
    """

    label: str
    pictures: Frames


def draw_sheet(rows: Sequence[Row]) -> Frames:
    """Draw rows under each other, frames from left to right; uint8 (height, width, 3)."""
    return contact_sheet(
        [row.pictures for row in rows],
        [row.label for row in rows],
        max_columns=MAX_COLUMNS,
        frame_height=FRAME_HEIGHT,
    )


def animate(rows: Sequence[Row]) -> Frames:
    """Draw rows under each other, frame after frame; uint8 (F, height, width, 3)."""
    moments = range(len(rows[0].pictures))
    return np.stack(
        [draw_sheet([Row(row.label, row.pictures[at : at + 1]) for row in rows]) for at in moments]
    )


def cross_rows(maps: ReferenceMaps, frames: Frames, words: Sequence[Word]) -> list[Row]:
    """Draw where each word has its places, in rows of a sheet.

    Args:
        maps: What the features see.
        frames: The reference's, one for each of the latents, uint8 (F, H, W, 3).
        words: A row each.
    """
    rows = [Row("the reference", frames)]
    for word in words:
        heat = maps.of_word(word)
        label = (
            f"{word.text}: {_percent(heat.min())} to {_percent(heat.max())} of a place's attention"
        )
        rows.append(Row(label, overlay(frames, heat)))
    return rows


def temporal_rows(maps: ReferenceMaps, frames: Frames) -> list[Row]:
    """Draw where things move, as the temporal attention sees it, in rows of a sheet; args as above."""
    rows = [Row("the reference", frames)]
    if maps.frame_attention is not None:
        heat = own_frame(maps.frame_attention)
        label = f"keeps to its own frame: up to {_percent(heat.max())} of its attention more than most places"
        return [*rows, Row(label, overlay(frames, heat))]
    assert maps.flow is not None
    moved = displacements(maps.flow)
    longest = _percent(moved.norm(dim=-1).max())
    label = f"where attention moves to in the next frame: the longest arrow is {longest} of a side"
    return [*rows, Row(label, arrows(frames, moved))]


def arrows(frames: Frames, moved: Tensor) -> Frames:
    """Draw how attention moves to the next frame, as arrows from the places' centres.

    All are lengthened alike.

    Args:
        frames: uint8 (F, H, W, 3); the last stays without.
        moved: Columns and rows as shares of the frame (F - 1, h, w, 2).
    """
    height, width = frames.shape[1:3]
    scale = LONGEST_ARROW / max(moved.shape[1:3]) / moved.norm(dim=-1).max().clamp(min=1e-12).item()
    drawn = frames.copy()
    for frame, field in zip(drawn, moved.numpy(), strict=False):
        rows, columns = field.shape[:2]
        for row, column in np.ndindex(rows, columns):
            start = np.array([(column + 0.5) / columns, (row + 0.5) / rows])
            end = start + scale * field[row, column]
            tail, tip = (
                (point * [width, height]).round().astype(int).tolist() for point in (start, end)
            )
            cv2.arrowedLine(frame, tail, tip, ARROW_COLOUR, 1, cv2.LINE_AA, tipLength=0.3)
    return drawn


def draw_frame_attention(shares: Tensor) -> bytes:
    """Draw how frames attend to frames, averaged over all places and over those that keep to their own.

    Args:
        shares: (F, h, w, F).

    Returns:
        A PNG.
    """
    from matplotlib.figure import Figure

    whole, moving = frame_matrices(shares)
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    for axes, (title, matrix) in zip(
        figure.subplots(1, 2),
        (("all places", whole), ("the tenth that keeps to its own most", moving)),
        strict=True,
    ):
        image = axes.imshow(
            matrix, cmap="inferno", vmin=0, vmax=float(max(whole.max(), moving.max()))
        )
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("frame that is attended to")
        axes.set_ylabel("frame that attends")
    figure.colorbar(image, ax=figure.axes, label="share of attention")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110, metadata={"Software": None})
    return drawn.getvalue()


def frame_matrices(shares: Tensor) -> tuple[Tensor, Tensor]:
    """Average shares of attention (F, h, w, F) over places, and over the hottest tenth; (F, F) each."""
    flat, heat = shares.flatten(1, 2), own_frame(shares).flatten(1)  # (F, P, F), (F, P)
    count = max(heat.shape[1] // 10, 1)
    hottest = heat.topk(count, dim=1).indices  # (F, count)
    moving = flat.gather(1, hottest[..., None].expand(-1, -1, flat.shape[2]))
    return flat.mean(1), moving.mean(1)


def choose_most_varied(maps: Sequence[ReferenceMaps], words: Sequence[Word]) -> list[Word]:
    """Take the words whose maps vary most over frames and places, in the prompt's order.

    They are those that the loss weighs most: it is the square of a difference in shares.
    """

    def spread(word: Word) -> float:
        return sum(each.of_word(word).std(correction=0).item() for each in maps)

    kept = sorted(words, key=spread, reverse=True)[:MAX_WORDS]
    return [word for word in words if word in kept]


def _percent(share: Tensor) -> str:
    return f"{100 * share.item():.2g} %"
