"""The distribution of Moving Shapes: draw scenes, always the same ones for the same seed.

A scene is addressed by (seed, split, index), so any clip can be drawn at any time and a resumed
training sees what an unbroken one would. One eighth of the combinations of colour, shape,
background style and background colour never occurs in the split "train"; the split "test" has
only those.
"""

import dataclasses
import zlib

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from testbed.motions import MOTION_PROBABILITIES, MOTIONS, sample_path
from testbed.renderer import (
    BACKGROUND_COLORS,
    BACKGROUND_STYLES,
    FRAME_SIZE,
    OBJECT_COLORS,
    SHAPES,
    TEXTURED_STYLES,
    Background,
    Scene,
)

Array = NDArray[np.float64]

SPLITS = ("train", "test")
NUM_FRAMES = 8
STYLE_PROBABILITIES = (0.28, 0.16, 0.12, 0.22, 0.22)  # in the order of BACKGROUND_STYLES
CAMERA_PROBABILITY = 0.55  # of moving, on a textured background
CAMERA_MOTIONS = (
    "pans left",
    "pans right",
    "pans up",
    "pans down",
    "zooms in",
    "zooms out",
    "shakes",
    "pans left and zooms in",
    "pans right and zooms in",
    "pans left and zooms out",
    "pans right and zooms out",
)
CAMERA_MOTION_PROBABILITIES = (0.12, 0.12, 0.08, 0.08, 0.14, 0.14, 0.12, 0.05, 0.05, 0.05, 0.05)
_OPPOSITES = (("left", "right"), ("up", "down"), ("in", "out"))
_BACKWARDS = {a: b for pair in _OPPOSITES for a, b in (pair, pair[::-1])}
MIN_RADIUS, MAX_RADIUS = 6.5, 12.5
SIZE_CHANGE_PROBABILITY = 0.3

_OBJECT_COLORS, _SHAPES = tuple(OBJECT_COLORS), tuple(SHAPES)
_BACKGROUND_COLORS = tuple(BACKGROUND_COLORS)


def is_held_out(color: str, shape: str, style: str, background_color: str) -> bool:
    """Tell whether a combination of appearances is kept from all training.

    Args:
        color: The shape's colour.
        shape: The shape.
        style: The background's style.
        background_color: The background's colour.

    Returns:
        True for one combination in eight, fixed for ever.
    """
    return zlib.crc32(f"{color} {shape} {style} {background_color}".encode()) % 8 == 0


def scene_stream(seed: int, split: str, index: int) -> Generator:
    """Open the random stream that belongs to one scene."""
    return np.random.default_rng([seed, SPLITS.index(split), index])


def sample_scene(rng: Generator, split: str, num_frames: int = NUM_FRAMES) -> Scene:
    """Draw one scene.

    Args:
        rng: Source of randomness, `scene_stream` for a scene that can be drawn again.
        split: "train" or "test".
        num_frames: Number of frames F.

    Returns:
        The scene.
    """
    color, shape, style, background_color = sample_appearance(rng, split)
    while True:  # a resting object may leave the view of a moving camera: draw again
        moving = style in TEXTURED_STYLES and rng.random() < CAMERA_PROBABILITY
        camera_motion = (
            CAMERA_MOTIONS[rng.choice(len(CAMERA_MOTIONS), p=CAMERA_MOTION_PROBABILITIES)]
            if moving
            else ""
        )
        camera = sample_camera(camera_motion, rng, num_frames)
        radius = _sample_radius(rng, camera[:, 2], num_frames)
        if radius is None:
            continue
        motion = MOTIONS[rng.choice(len(MOTIONS), p=MOTION_PROBABILITIES)]
        margin = float(np.abs(SHAPES[shape]).max() * radius.max())
        low, high = margin, FRAME_SIZE - 1 - margin
        path = sample_path(motion, rng, num_frames, low, high)
        if motion == "still":  # it rests in the world, and moves on the screen with the camera
            path = world_to_screen(np.tile(path[0], (num_frames, 1)), camera)
            if path.min() < low or path.max() > high:
                continue
        break
    return Scene(
        shape=shape,
        color=color,
        rgb=_jitter(rng, OBJECT_COLORS[color], 8),
        background=sample_background(rng, style, background_color),
        motion=motion,
        camera_motion=camera_motion,
        path=path,
        radius=radius,
        camera=camera,
    )


def spread_evenly(num_rendered: int, num_frames: int) -> NDArray[np.int64]:
    """Which of the rendered frames a clip of fewer frames has."""
    return np.arange(num_frames) * (num_rendered // num_frames)


def choose_frames(scene: Scene, frames: NDArray[np.int64]) -> Scene:
    """Cut frames out of a scene; a single one shows a shape that stays where it is."""
    if len(frames) == 1:
        scene = dataclasses.replace(scene, motion="still", camera_motion="")
    return dataclasses.replace(
        scene, path=scene.path[frames], radius=scene.radius[frames], camera=scene.camera[frames]
    )


def play_backwards(scene: Scene) -> Scene:
    """Turn the time of a scene around: what pans left pans right, what zooms in zooms out."""
    words = scene.camera_motion.split()
    return dataclasses.replace(
        scene,
        camera_motion=" ".join(_BACKWARDS.get(word, word) for word in words),
        path=scene.path[::-1],
        radius=scene.radius[::-1],
        camera=scene.camera[::-1],
    )


def sample_appearance(rng: Generator, split: str) -> tuple[str, str, str, str]:
    """Draw (colour, shape, background style, background colour) of the split."""
    while True:
        color = _OBJECT_COLORS[rng.integers(len(_OBJECT_COLORS))]
        shape = _SHAPES[rng.integers(len(_SHAPES))]
        style = BACKGROUND_STYLES[rng.choice(len(BACKGROUND_STYLES), p=STYLE_PROBABILITIES)]
        background_color = _BACKGROUND_COLORS[rng.integers(len(_BACKGROUND_COLORS))]
        if is_held_out(color, shape, style, background_color) == (split == "test"):
            return color, shape, style, background_color


def sample_background(rng: Generator, style: str, color: str) -> Background:
    """Draw a background of one style and named colour."""
    return Background(
        style=style,
        color=color,
        rgb=_jitter(rng, BACKGROUND_COLORS[color], 6),
        angle=float(rng.integers(0, 8) * np.pi / 4),
        period=float(rng.uniform(24, 30) if style == "striped" else rng.uniform(30, 38)),
        phase=(float(rng.uniform()), float(rng.uniform())),
    )


def sample_camera(camera_motion: str, rng: Generator, num_frames: int) -> Array:
    """Draw the path of the camera.

    Args:
        camera_motion: "" or one of `CAMERA_MOTIONS`.
        rng: Source of randomness.
        num_frames: Number of frames F.

    Returns:
        The (F, 3) offsets (x, y) in world pixels and zoom factors.
    """
    time = np.linspace(-0.5, 0.5, num_frames)
    offset, log_zoom = np.zeros((num_frames, 2)), np.zeros(num_frames)
    directions = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
    for word, direction in directions.items():
        if f"pans {word}" in camera_motion:
            offset = time[:, None] * rng.uniform(14, 28) * np.asarray(direction)
    if "zooms" in camera_motion:
        log_zoom = time * rng.uniform(0.35, 0.65) * (1 if "zooms in" in camera_motion else -1)
    if camera_motion == "shakes":
        offset = rng.uniform(-3.0, 3.0, (num_frames, 2))
    return np.concatenate([offset, np.exp(log_zoom)[:, None]], axis=1)


def world_to_screen(world: Array, camera: Array) -> Array:
    """Project world positions: both (F, 2) in pixels, with the camera (F, 3) of `Scene`."""
    center = (FRAME_SIZE - 1) / 2
    return (world - center - camera[:, :2]) * camera[:, 2:] + center


def _sample_radius(rng: Generator, zoom: Array, num_frames: int) -> Array | None:
    """Draw the radius on the screen; None if the zoom takes it out of its bounds."""
    first = last = rng.uniform(8.0, 11.0)
    if np.ptp(zoom) == 0 and rng.random() < SIZE_CHANGE_PROBABILITY:
        first, last = rng.uniform(6.5, 8.0), rng.uniform(10.5, 12.5)
        if rng.random() < 0.5:
            first, last = last, first
    radius = np.linspace(first, last, num_frames) * zoom
    return radius if radius.min() >= MIN_RADIUS and radius.max() <= MAX_RADIUS else None


def _jitter(rng: Generator, rgb: tuple[int, int, int], amount: float) -> tuple[float, float, float]:
    red, green, blue = np.clip(np.asarray(rgb) + rng.uniform(-amount, amount, 3), 0, 255)
    return float(red), float(green), float(blue)
