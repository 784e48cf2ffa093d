"""Render the reference clips: python -m testbed.reference_clips

Each shows a motion that no caption of the training names, so that only the clip can teach it. With
each comes its ground truth as JSON. Four motions are for tuning, the others for reporting.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionmatcher.command_line import ArgumentParser, run
from motionmatcher.paths import user_path

Array = NDArray[np.float64]
Appearance = tuple[str, str, str, str]  # colour, shape, background style and background colour

DEFAULT_FOLDER = Path("resources/reference_videos")
FPS = 8.0
RADIUS = 9.0  # pixels


@dataclass(frozen=True)
class ReferenceMotion:
    """One reference clip.

    Attributes:
        appearance: Colour, shape, background style and background colour.
        path: Progress (F,) from 0 to 1 -> place (F, 2) in the unit square; on the screen when the
            camera rests, in the world when it moves.
        pan: World pixels (x, y) that the camera travels.
        zoom: Last zoom factor divided by the first.
        tuning: For choosing settings, not for reporting.
    """

    appearance: Appearance
    path: Callable[[Array], Array]
    pan: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    tuning: bool = False


def _through(*points: tuple[float, float]) -> Callable[[Array], Array]:
    """Straight from point to point, at even speed."""
    corners = np.asarray(points)
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])

    def path(progress: Array) -> Array:
        at = progress * lengths[-1]
        return np.stack([np.interp(at, lengths, corners[:, axis]) for axis in (0, 1)], axis=1)

    return path


def _resting(x: float, y: float) -> Callable[[Array], Array]:
    return lambda progress: np.tile([x, y], (len(progress), 1))


def _figure_eight(progress: Array) -> Array:
    angle = 2 * np.pi * progress
    return 0.5 + 0.5 * np.stack([np.sin(angle), np.sin(2 * angle)], axis=1)


def _spiral(progress: Array) -> Array:
    angle, radius = 3 * np.pi * progress, 0.5 * (1 - 0.8 * progress)
    return 0.5 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _swing(progress: Array) -> Array:
    angle = 1.1 * np.cos(2 * np.pi * progress)
    return np.stack([0.5 + 0.56 * np.sin(angle), 0.1 + 0.8 * np.cos(angle)], axis=1)


def _rush_and_return(progress: Array) -> Array:
    """Across in a third of the time, and back in the rest, along an arc."""
    outward = np.clip(progress / 0.35, 0, 1)
    back = np.clip((progress - 0.35) / 0.65, 0, 1)
    return np.stack([outward - back, 0.9 - 0.8 * np.sin(np.pi * back)], axis=1)


REFERENCE_MOTIONS = {
    "figure_eight": ReferenceMotion(("orange", "circle", "plain", "navy"), _figure_eight),
    "spiral": ReferenceMotion(("green", "square", "plain", "gray"), _spiral),
    "rush_and_return": ReferenceMotion(("red", "triangle", "gradient", "black"), _rush_and_return),
    "staircase": ReferenceMotion(
        ("cyan", "circle", "plain", "brown"),
        _through((0, 1), (0.33, 1), (0.33, 0.5), (0.67, 0.5), (0.67, 0), (1, 0)),
    ),
    "around_the_square": ReferenceMotion(
        ("yellow", "star", "striped", "teal"),
        _through((0, 0), (1, 0), (1, 1), (0, 1), (0, 0.2)),
    ),
    "camera_pan": ReferenceMotion(
        ("pink", "circle", "checkered", "navy"), _resting(0.5, 0.6), pan=(22.0, 0.0)
    ),
    "camera_zoom": ReferenceMotion(
        ("purple", "square", "dotted", "gray"), _resting(0.6, 0.4), zoom=1.8
    ),
    "camera_pan_and_zoom": ReferenceMotion(
        ("blue", "triangle", "checkered", "brown"), _resting(0.5, 0.5), pan=(-18.0, 8.0), zoom=0.6
    ),
    "swing": ReferenceMotion(("red", "circle", "plain", "white"), _swing, tuning=True),
    "sharp_turns": ReferenceMotion(
        ("yellow", "square", "gradient", "navy"),
        _through((0, 0.2), (0.9, 0), (0.2, 0.9), (1, 1)),
        tuning=True,
    ),
    "there_and_back": ReferenceMotion(
        ("green", "circle", "plain", "black"),
        _through((0.1, 0.9), (0.9, 0.1), (0.1, 0.9)),
        tuning=True,
    ),
    "camera_follows": ReferenceMotion(
        ("orange", "star", "checkered", "teal"),
        _through((0.1, 0.5), (0.9, 0.5)),
        pan=(30.0, 0.0),
        tuning=True,
    ),
}


def reference_scene(
    name: str, num_frames: int, appearance: Appearance | None = None, room_for: Sequence[str] = ()
) -> Any:
    """Set up the scene of one reference clip.

    Args:
        name: A key of `REFERENCE_MOTIONS`.
        num_frames: Number of frames F.
        appearance: Other looks than its own.
        room_for: Further shapes that fit into the frame on its path, so that scenes of all of them have
            one path.

    Returns:
        Its `testbed.renderer.Scene`.
    """
    from testbed.renderer import (
        BACKGROUND_COLORS,
        FRAME_SIZE,
        OBJECT_COLORS,
        SHAPES,
        Background,
        Scene,
    )
    from testbed.scenes import world_to_screen

    motion = REFERENCE_MOTIONS[name]
    color, shape, style, background_color = appearance or motion.appearance
    progress = np.linspace(0.0, 1.0, num_frames)
    zoom = motion.zoom ** (progress - 0.5)
    camera = np.concatenate([np.outer(progress - 0.5, motion.pan), zoom[:, None]], axis=1)  # (F, 3)
    reach = max(np.abs(SHAPES[each]).max() for each in (shape, *room_for))
    margin = float(reach * RADIUS * zoom.max())
    low, high = margin, FRAME_SIZE - 1 - margin
    world = low + (high - low) * motion.path(progress)  # (F, 2)
    return Scene(
        shape=shape,
        color=color,
        rgb=_floats(OBJECT_COLORS[color]),
        background=Background(
            style, background_color, _floats(BACKGROUND_COLORS[background_color]), 0.0, 32.0, (0, 0)
        ),
        motion=name,
        camera_motion="moves" if motion.pan != (0.0, 0.0) or motion.zoom != 1.0 else "",
        path=world_to_screen(world, camera),
        radius=RADIUS * zoom,
        camera=camera,
    )


def _floats(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    return float(rgb[0]), float(rgb[1]), float(rgb[2])


def ground_truth(
    name: str, num_frames: int, appearance: Appearance | None = None, room_for: Sequence[str] = ()
) -> dict[str, Any]:
    """Describe one reference clip exactly, in plain values.

    Args:
        name: A key of `REFERENCE_MOTIONS`.
        num_frames: Number of frames F.
        appearance: As of `reference_scene`.
        room_for: Likewise.

    Returns:
        Its prompt, appearance, "path" (F, 2), "radius" (F,) and "camera" (F, 3) as in
        `testbed.renderer.Scene`, in pixels, frame rate, and "tuning".
    """
    from testbed.captions import appearance_caption

    motion = REFERENCE_MOTIONS[name]
    scene = reference_scene(name, num_frames, appearance, room_for)
    return {
        "prompt": appearance_caption(*(appearance or motion.appearance)),
        "color": scene.color,
        "shape": scene.shape,
        "background_style": scene.background.style,
        "background_color": scene.background.color,
        "fps": FPS,
        "tuning": motion.tuning,
        "path": scene.path.round(4).tolist(),
        "radius": scene.radius.round(4).tolist(),
        "camera": scene.camera.round(5).tolist(),
    }


def main() -> int:
    """Render all reference clips, their ground truth and a contact sheet."""
    parser = ArgumentParser(
        prog="python -m testbed.reference_clips", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--output_dir", type=user_path, default=DEFAULT_FOLDER, help="where to write"
    )
    arguments = parser.parse_args()
    from motionmatcher.clips.contact_sheet import write_contact_sheet
    from motionmatcher.clips.video import write_mp4
    from testbed.renderer import render
    from testbed.scenes import NUM_FRAMES
    from testbed.truth import write_truth

    clips = {name: render(reference_scene(name, NUM_FRAMES)) for name in REFERENCE_MOTIONS}
    for name, frames in clips.items():
        clip = arguments.output_dir / f"{name}.mp4"
        write_mp4(clip, frames, FPS)
        write_truth(clip, ground_truth(name, NUM_FRAMES))
    write_contact_sheet(
        arguments.output_dir / "contact_sheet.png", list(clips.values()), list(clips)
    )
    return 0


if __name__ == "__main__":
    run(main)
