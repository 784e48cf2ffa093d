"""How far a video is from the reference's motion and from its prompt; pure functions.

A frame without an object is never left out, for a method that hides its object would win. Its place
counts as one chosen blindly (see `testbed.path_error`), its radius as 0, its displacement as 0.
Leakage is taken a second time of the videos with an object alone, for without one nothing can leak.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from testbed.path_error import centred_error, path_error
from testbed.renderer import FRAME_SIZE, TEXTURED_STYLES
from testbed.scenes import world_to_screen
from testbed.tracker import ClipMeasurement
from testbed.truth import ATTRIBUTES, Truth

Array = NDArray[np.float64]

# Pixels. What is larger is no object (the data's are at most 12.5) but a frame gone wrong, whose
# centre lies near the frame's and would have a better path error than most objects.
MAX_OBJECT_RADIUS = 20.0
FRAME_CENTRE = np.full(2, (FRAME_SIZE - 1) / 2)
FRAME_DIAGONAL = FRAME_SIZE * 2**0.5
MIN_TRAVEL = 8.0  # pixels; a reference that moves less has no displacement to correlate with
METRICS = (
    "path_error",
    "centred_error",
    "correlation",
    "size_error",
    "camera_error",
    "one_object",
    "object_found",
    "color_kept",
    "shape_kept",
    "background_kept",
    "color_leaked",
    "shape_leaked",
    "background_leaked",
    "leakage",
    "color_leaked_by_object",
    "shape_leaked_by_object",
    "leakage_with_object",
)
# World points that a camera is compared by: three by three over the first frame.
_POINTS = FRAME_SIZE / 2 + np.stack(np.meshgrid([-24, 0, 24], [-24, 0, 24]), -1).reshape(-1, 2)


def measure_video(
    video: ClipMeasurement, prompt: Mapping[str, str], truth: Truth
) -> dict[str, float]:
    """Compare a video with the reference and with its prompt.

    Args:
        video: What the tracker found.
        prompt: What it shall show: `truth.ATTRIBUTES` by name.
        truth: How it shall move, and what must not leak.

    Returns:
        `METRICS`, NaN where one does not apply: correlation where the reference hardly moves, camera
        error where it rests or the prompt's background shows no camera, leakage where prompt and
        reference agree, and all metrics "by" and "with" object of a video without one.
    """
    radius = np.nan_to_num(video.radius)  # (F,)
    counts = np.where(radius > MAX_OBJECT_RADIUS, 0, video.counts)  # (F,)
    radius = np.where(counts > 0, radius, 0.0)
    path = np.where(counts[:, None] > 0, video.path, np.nan)  # (F, 2)
    found = bool(counts.any())
    camera_seen = truth.camera_moves and prompt["background_style"] in TEXTURED_STYLES
    return {
        "path_error": path_error(path, truth.path),
        "centred_error": centred_error(path, truth.path),
        "correlation": (
            displacement_correlation(path, truth.path)
            if truth.travel >= MIN_TRAVEL
            else float("nan")
        ),
        "size_error": float(np.abs(radius - truth.radius).mean()),
        "camera_error": camera_error(video.camera, truth.camera) if camera_seen else float("nan"),
        "one_object": float((counts == 1).mean()),
        "object_found": float(found),
        **_appearance_metrics(video, found, prompt, truth),
    }


def resting_object_metrics(truth: Truth) -> dict[str, float]:
    """Give the metrics of an object that rests in the middle of the frame, without any model.

    No motion is transferred, yet paths that cross the frame are nearer to its middle than to each
    other: a path error above this one is worse than doing nothing.

    Returns:
        `METRICS`, NaN but for those of the path.
    """
    path = np.tile(FRAME_CENTRE, (len(truth.path), 1))
    return dict.fromkeys(METRICS, float("nan")) | {
        "path_error": path_error(path, truth.path),
        "centred_error": centred_error(path, truth.path),
        "correlation": 0.0 if truth.travel >= MIN_TRAVEL else float("nan"),
    }


def displacement_correlation(path: Array, reference: Array) -> float:
    """Correlation of the displacements from frame to frame, uncentred, so that direction counts.

    Args:
        path: (F, 2) places in pixels, NaN where there is no object: it does not move there.
        reference: (F, 2) the reference's.

    Returns:
        -1 to 1; 0 for an object that does not move at all.
    """
    steps = np.nan_to_num(np.diff(path, axis=0))
    steps[np.isnan(np.diff(path, axis=0)).any(axis=1)] = 0.0
    wanted = np.diff(reference, axis=0)
    norms = np.linalg.norm(steps) * np.linalg.norm(wanted)
    return float((steps * wanted).sum() / norms) if norms > 0 else 0.0


def camera_error(camera: Array | None, reference: Array) -> float:
    """Mean distance on the screen between where two cameras show the same points, in pixels.

    Args:
        camera: (F, 3) as measured; None, or not finite somewhere, when it cannot be followed, which
            counts as at rest.
        reference: (F, 3) the reference's.

    Returns:
        The distance, at most the frame's diagonal: a camera that is lost is no worse than that.
    """
    measured = np.tile([0.0, 0.0, 1.0], (len(reference), 1))
    if camera is not None and np.isfinite(camera).all():
        measured = camera
    distances = [
        np.linalg.norm(
            world_to_screen(np.tile(point, (len(reference), 1)), measured)
            - world_to_screen(np.tile(point, (len(reference), 1)), reference),
            axis=1,
        )
        for point in _POINTS
    ]
    return min(float(np.mean(distances)), FRAME_DIAGONAL)


def _appearance_metrics(
    video: ClipMeasurement, found: bool, prompt: Mapping[str, str], truth: Truth
) -> dict[str, float]:
    """Tell for each attribute whether the prompt's is there, and whether the reference's is."""
    seen = vars(video) if found else {**vars(video), "color": "", "shape": ""}
    kept, leaked = {}, {}
    for name in ATTRIBUTES:
        wanted, reference = prompt[name], truth.appearance[name]
        kept[name] = float(seen[name] == wanted)
        leaked[name] = float(seen[name] == reference) if wanted != reference else float("nan")
    background = [leaked["background_style"], leaked["background_color"]]
    leakage = mean_of_defined(list(leaked.values()))
    return {
        "color_kept": kept["color"],
        "shape_kept": kept["shape"],
        "background_kept": (kept["background_style"] + kept["background_color"]) / 2,
        "color_leaked": leaked["color"],
        "shape_leaked": leaked["shape"],
        "background_leaked": mean_of_defined(background),
        "leakage": leakage,
        "color_leaked_by_object": leaked["color"] if found else float("nan"),
        "shape_leaked_by_object": leaked["shape"] if found else float("nan"),
        "leakage_with_object": leakage if found else float("nan"),
    }


def mean_of_defined(values: list[float]) -> float:
    """Average what is not NaN; NaN of nothing."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
