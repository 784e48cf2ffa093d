"""Draw a scene of Moving Shapes: one coloured shape on a background seen by a moving camera.

Positions are pixels of the screen (x right, y down, centre of the top left pixel at (0, 0)).
The size of a shape is the radius of the circle of equal area, so that it is measured alike for
every shape.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FRAME_SIZE = 64

OBJECT_COLORS: dict[str, tuple[int, int, int]] = {
    "red": (225, 35, 35),
    "orange": (245, 140, 20),
    "yellow": (245, 225, 40),
    "green": (40, 190, 60),
    "cyan": (40, 215, 225),
    "blue": (45, 85, 235),
    "purple": (140, 50, 200),
    "pink": (250, 120, 190),
}
BACKGROUND_COLORS: dict[str, tuple[int, int, int]] = {
    "black": (32, 32, 34),
    "gray": (128, 128, 128),
    "white": (220, 220, 220),
    "brown": (105, 70, 42),
    "navy": (35, 42, 100),
    "teal": (25, 98, 100),
}
PLAIN_STYLES = ("plain", "gradient", "striped")
TEXTURED_STYLES = ("checkered", "dotted")  # seen from every direction, so the camera shows
BACKGROUND_STYLES = PLAIN_STYLES + TEXTURED_STYLES
TEXTURE_CONTRAST = 22.0  # levels above and below the background's colour

_SUPERSAMPLING = 4
_SHIFT = 4  # fractional bits of OpenCV's polygon coordinates


def _regular_polygon(corners: int, start_angle: float, inner_ratio: float = 1.0) -> Array:
    """Corners on a circle, every second one at `inner_ratio` of it, scaled to the area pi."""
    angles = start_angle + 2 * np.pi * np.arange(corners) / corners
    radii = np.where(np.arange(corners) % 2, inner_ratio, 1.0)
    points = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    x, y = points.T
    area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    return points * np.sqrt(np.pi / area)


SHAPES: dict[str, Array] = {  # outlines of area pi around their centre of mass
    "circle": _regular_polygon(72, 0.0),
    "square": _regular_polygon(4, np.pi / 4),
    "triangle": _regular_polygon(3, -np.pi / 2, 1.0),
    "star": _regular_polygon(10, -np.pi / 2, 0.5),
}


@dataclass(frozen=True)
class Background:
    """What is behind the shape, in world coordinates.

    Args:
        style: One of `BACKGROUND_STYLES`.
        color: One of the names of `BACKGROUND_COLORS`.
        rgb: The colour meant by the name in this clip, 0 to 255.
        angle: Direction of a gradient or of the stripes, in radians.
        period: Length of one repetition of a texture, in pixels.
        phase: Where in its period the texture is at the centre (x, y), 0 to 1.
    """

    style: str
    color: str
    rgb: tuple[float, float, float]
    angle: float
    period: float
    phase: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """One clip before drawing; the ground truth of everything that can be measured in it.

    Args:
        shape: One of the names of `SHAPES`.
        color: One of the names of `OBJECT_COLORS`.
        rgb: The shape's colour in this clip, 0 to 255.
        background: What is behind it.
        motion: The kind of path, see `testbed.motions.MOTIONS`.
        camera_motion: Words for the camera, "" when it rests.
        path: (F, 2) centre of the shape on the screen, in pixels.
        radius: (F,) radius on the screen of the circle of the shape's area, in pixels.
        camera: (F, 3) the camera's offset (x, y) in world pixels and its zoom factor.
    """

    shape: str
    color: str
    rgb: tuple[float, float, float]
    background: Background
    motion: str
    camera_motion: str
    path: Array
    radius: Array
    camera: Array

    @property
    def num_frames(self) -> int:
        """Number of frames F."""
        return len(self.path)


def render(scene: Scene) -> NDArray[np.uint8]:
    """Draw every frame.

    Args:
        scene: What to draw.

    Returns:
        The (F, 64, 64, 3) RGB frames, uint8.
    """
    return np.stack([render_frame(scene, frame)[0] for frame in range(scene.num_frames)])


def render_frame(scene: Scene, frame: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw one frame.

    Args:
        scene: What to draw.
        frame: Index of the frame.

    Returns:
        The (64, 64, 3) RGB frame, uint8, and the (64, 64) coverage of the shape, 0 to 1.
    """
    mask = shape_mask(scene.shape, scene.path[frame], float(scene.radius[frame]))  # (H, W)
    backdrop = _draw_background(scene.background, scene.camera[frame])  # (H, W, 3)
    image = backdrop + mask[..., None] * (np.asarray(scene.rgb, np.float32) - backdrop)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), mask


def shape_mask(shape: str, center: Array, radius: float) -> NDArray[np.float32]:
    """Draw the coverage of one shape, antialiased by supersampling.

    Args:
        shape: One of the names of `SHAPES`.
        center: (2,) its centre of mass (x, y), in pixels.
        radius: Radius of the circle of its area, in pixels.

    Returns:
        The (64, 64) coverage, 0 to 1.
    """
    outline = np.asarray(center) + radius * SHAPES[shape]
    fine_outline = (outline + 0.5) * _SUPERSAMPLING - 0.5
    corners = np.rint(fine_outline * (1 << _SHIFT)).astype(np.int32)
    fine = np.zeros((FRAME_SIZE * _SUPERSAMPLING,) * 2, np.uint8)
    cv2.fillPoly(fine, [corners], 255, shift=_SHIFT)
    coarse = cv2.resize(fine, (FRAME_SIZE, FRAME_SIZE), interpolation=cv2.INTER_AREA)
    return coarse.astype(np.float32) / 255.0


def _draw_background(background: Background, camera: Array) -> NDArray[np.float32]:
    offset_x, offset_y, zoom = camera
    from_center = (np.arange(FRAME_SIZE) - (FRAME_SIZE - 1) / 2) / zoom
    x, y = from_center + offset_x, from_center + offset_y  # world coordinates, (W,) and (H,)
    pattern = background_pattern(background, x, y).astype(np.float32)  # (H, W) in [-1, 1]
    contrast = 32.0 if background.style == "gradient" else TEXTURE_CONTRAST
    return np.asarray(background.rgb, np.float32) + contrast * pattern[..., None]


def background_pattern(background: Background, x: Array, y: Array) -> Array:
    """Tell how much lighter (1) or darker (-1) a background is at each place.

    Args:
        background: What to draw.
        x: (W,) world coordinates of the columns, in pixels from the world's centre.
        y: (H,) world coordinates of the rows.

    Returns:
        The (H, W) pattern.
    """
    style = background.style
    if style == "plain":
        return np.zeros((len(y), len(x)))
    cos, sin = np.cos(background.angle), np.sin(background.angle)
    if style == "gradient":
        along = (cos * x[None, :] + sin * y[:, None]) / (FRAME_SIZE / 2)
        return np.clip(along, -1.0, 1.0)
    turns_x = x / background.period + background.phase[0]
    turns_y = y / background.period + background.phase[1]
    if style == "striped":
        return _square_wave(cos * turns_x[None, :] + sin * turns_y[:, None], background.period)
    if style == "checkered":
        return (
            _square_wave(turns_y, background.period)[:, None]
            * _square_wave(turns_x, background.period)[None, :]
        )
    distance = np.hypot((turns_x % 1.0 - 0.5)[None, :], (turns_y % 1.0 - 0.5)[:, None])
    return np.clip((0.32 - distance) * background.period, -1.0, 1.0)


def _square_wave(turns: Array, period: float) -> Array:
    """A square wave in [-1, 1] with edges of about two pixels."""
    return np.clip(np.sin(2 * np.pi * turns) * period / (2 * np.pi), -1.0, 1.0)
