"""Whether a video does what the motion words of its prompt say."""

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from testbed.captions import direction_name, place_name
from testbed.motions import MOTIONS
from testbed.renderer import Scene
from testbed.scenes import sample_scene, scene_stream
from testbed.tracker import ClipMeasurement

Array = NDArray[np.float64]

WORD_KINDS = ("motion", "start", "end", "direction", "size", "camera")
MIN_SIZE_CHANGE = 1.0  # pixels of radius from first to last frame
MIN_PAN = 4.0  # world pixels from first to last frame
MIN_ZOOM = 1.1
_NEIGHBOURS = 7
_REFERENCE_SCENES = 3000
_REFERENCE_SEED = 3000


def said_words(scene: Scene, text: str) -> dict[str, Callable[[ClipMeasurement], bool]]:
    """List what a prompt says about motion.

    Args:
        scene: What the prompt was written for.
        text: The prompt; it says how the shape moves.

    Returns:
        For each of `WORD_KINDS` that it has, whether a video does as it says; of videos with an object in
        their first and last frame at least.
    """
    checks = dict[str, Callable[[ClipMeasurement], bool]]()
    start, end = place_name(*scene.path[0]), place_name(*scene.path[-1])
    direction = direction_name(*(scene.path[-1] - scene.path[0]))
    carried = scene.motion == "still" and scene.camera_motion  # on the screen, it moves
    if not carried:
        checks["motion"] = lambda video: classify_motion(video.path) == scene.motion
    if any(f"{words} the {start}" in text for words in ("from", "starting at", "still at")):
        checks["start"] = lambda video: place_name(*video.path[0]) == start
    if f" to the {end} " in text:
        checks["end"] = lambda video: place_name(*video.path[-1]) == end
    if f"moves {direction} " in text:
        checks["direction"] = lambda video: (
            direction_name(*(video.path[-1] - video.path[0])) == direction
        )
    if "grows" in text:
        checks["size"] = lambda video: bool(_growth(video) > MIN_SIZE_CHANGE)
    if "shrinks" in text:
        checks["size"] = lambda video: bool(_growth(video) < -MIN_SIZE_CHANGE)
    if "camera" in text and "shakes" not in text:
        checks["camera"] = lambda video: (
            video.camera is not None and _camera_follows(text, video.camera)
        )
    return checks


def _growth(video: ClipMeasurement) -> float:
    """Pixels of radius from first to last frame."""
    return float(video.radius[-1] - video.radius[0])


def _camera_follows(text: str, camera: Array) -> bool:
    x, y = camera[-1, :2] - camera[0, :2]
    zoom = camera[-1, 2] / camera[0, 2]
    conditions = {
        "pans left": x < -MIN_PAN,
        "pans right": x > MIN_PAN,
        "pans up": y < -MIN_PAN,
        "pans down": y > MIN_PAN,
        "zooms in": zoom > MIN_ZOOM,
        "zooms out": zoom < 1 / MIN_ZOOM,
    }
    return all(bool(holds) for words, holds in conditions.items() if words in text)


def classify_motion(path: Array) -> str:
    """Name the kind of a path, as most of the nearest paths of the training data are named.

    Args:
        path: (F, 2) positions in pixels, without NaN.

    Returns:
        One of `MOTIONS`.
    """
    paths, kinds = _reference_paths(len(path))
    distances = np.linalg.norm(paths - _centred(path), axis=1)
    nearest = kinds[np.argsort(distances, kind="stable")[:_NEIGHBOURS]]
    return MOTIONS[int(np.bincount(nearest, minlength=len(MOTIONS)).argmax())]


@functools.cache
def _reference_paths(num_frames: int) -> tuple[Array, NDArray[np.int64]]:
    scenes = [
        sample_scene(scene_stream(_REFERENCE_SEED, "train", index), "train", num_frames)
        for index in range(_REFERENCE_SCENES)
    ]
    still = [scene for scene in scenes if not (scene.motion == "still" and scene.camera_motion)]
    kinds = np.asarray([MOTIONS.index(scene.motion) for scene in still])
    return np.stack([_centred(scene.path) for scene in still]), kinds


def _centred(path: Array) -> Array:
    return (path - path.mean(axis=0)).ravel()


def path_statistics(path: Array) -> dict[str, float]:
    """Measure how smooth and how wide a path is.

    Args:
        path: (F, 2) positions in pixels, without NaN.

    Returns:
        "roughness": mean length of the second difference, in pixels per frame squared; "spread": root
        mean square distance from the path's centre, in pixels.
    """
    bends = np.linalg.norm(np.diff(path, 2, axis=0), axis=1)
    spread = np.linalg.norm(path - path.mean(axis=0), axis=1)
    return {"roughness": float(bends.mean()), "spread": float(np.sqrt((spread**2).mean()))}
