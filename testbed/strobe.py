"""Show a whole video's motion in one picture, as a photograph under a stroboscope does."""

import cv2
import numpy as np
from numpy.typing import NDArray

from motionmatcher.clips.video import Frames
from testbed.tracker import object_mask

SCALE = 3  # pixels of the picture per pixel of the video
SMOOTHNESS = 2  # lines are drawn so many times larger, then averaged down
FAINTEST = 0.35  # opacity of the first frame's object; the last one's is 1


def strobe(frames: Frames, path: NDArray[np.float64] | None = None) -> Frames:
    """Lay the object of all frames over the background, the later the stronger.

    Args:
        frames: A video as `testbed.renderer` draws them, uint8 (F, H, W, 3).
        path: Drawn over it as a line with a ring at its start: places (x, y) in pixels (F, 2).

    Returns:
        One picture, uint8 (SCALE * H, SCALE * W, 3).
    """
    from PIL import Image, ImageDraw

    images = frames.astype(np.float32)
    backdrop = np.median(images, axis=(0, 1, 2))
    grow = np.ones((3, 3), np.uint8)  # by the pixels of mixed colour at an object's edge
    found = [object_mask(image, backdrop).astype(np.uint8) for image in images]
    masks = np.stack([cv2.dilate(mask, grow) for mask in found]).astype(bool)  # (F, H, W)
    # Behind the object: what other frames show; where it is in all of them, the object itself.
    hidden = masks & ~np.logical_and.reduce(masks)
    seen = np.nanmedian(np.where(hidden[..., None], np.nan, images), axis=0)  # (H, W, 3)
    for opacity, image, mask in zip(
        np.linspace(FAINTEST, 1, len(frames)), images, masks, strict=True
    ):
        seen = np.where(mask[..., None], opacity * image + (1 - opacity) * seen, seen)
    picture = Image.fromarray(seen.round().astype(np.uint8))
    width, height = SCALE * picture.width, SCALE * picture.height
    large = SCALE * SMOOTHNESS
    picture = picture.resize((SMOOTHNESS * width, SMOOTHNESS * height), Image.Resampling.NEAREST)
    if path is not None:
        draw = ImageDraw.Draw(picture)
        places = [((x + 0.5) * large, (y + 0.5) * large) for x, y in path]
        for color, thickness in (("black", large), ("white", large // 2)):
            draw.line(places, fill=color, width=thickness, joint="curve")
            (x, y), radius = places[0], large + thickness
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color, width=2)
    return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
