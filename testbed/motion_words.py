"""Whether a video does what the motion words of its prompt say."""

import functools

import numpy as np
from numpy.typing import NDArray

from testbed.captions import direction_name, place_name
from testbed.motions import MOTIONS
from testbed.prompts import HeldOutPrompt
from testbed.scenes import sample_scene, scene_stream
from testbed.tracker import ClipMeasurement

Array = NDArray[np.float64]

MIN_SIZE_CHANGE = 1.0  # pixels of radius from first to last frame
MIN_PAN = 4.0  # world pixels from first to last frame
MIN_ZOOM = 1.1
_NEIGHBOURS = 7
_REFERENCE_SCENES = 3000
_REFERENCE_SEED = 3000


def followed_words(prompt: HeldOutPrompt, measured: ClipMeasurement) -> dict[str, bool]:
    """Compare the motion of a video with what a prompt says about it.

    Args:
        prompt: Says how the shape moves.
        measured: The video, with an object in its first and last frame at least.

    Returns:
        Whether each thing the prompt says is so; what it does not say is left out.
    """
    scene, text, kept = prompt.scene, prompt.text, dict[str, bool]()
    path = measured.path
    start, end = path[0], path[-1]
    named_start, named_end = place_name(*scene.path[0]), place_name(*scene.path[-1])
    carried = scene.motion == "still" and scene.camera_motion  # on the screen, it moves
    if not carried:
        kept["motion"] = classify_motion(path) == scene.motion
    if any(f"{words} the {named_start}" in text for words in ("from", "starting at", "still at")):
        kept["start"] = place_name(*start) == named_start
    if f" to the {named_end} " in text:
        kept["end"] = place_name(*end) == named_end
    direction = direction_name(*(scene.path[-1] - scene.path[0]))
    if f"moves {direction} " in text:
        kept["direction"] = direction_name(*(end - start)) == direction
    change = measured.radius[-1] - measured.radius[0]
    if "grows" in text:
        kept["size"] = bool(change > MIN_SIZE_CHANGE)
    if "shrinks" in text:
        kept["size"] = bool(change < -MIN_SIZE_CHANGE)
    if "camera" in text and "shakes" not in text:
        kept["camera"] = measured.camera is not None and _camera_follows(text, measured.camera)
    return kept


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
