"""Say in words what a scene shows: its appearance always, its motion in most captions."""

import numpy as np
from numpy.random import Generator

from testbed.renderer import FRAME_SIZE, Scene

MOTION_WORDS_PROBABILITY = 0.7
PLACES_PROBABILITY = 0.6
CAMERA_WORDS_PROBABILITY = 0.7
SIZE_WORDS_PROBABILITY = 0.6
SIZE_ADJECTIVE_PROBABILITY = 0.3
SMALL_BELOW, LARGE_ABOVE = 8.8, 10.2  # pixels of radius

MOTION_PHRASES = {
    "line": "moves in a straight line",
    "spline": "moves along a curve",
    "loop": "moves in a loop",
    "zigzag": "moves in a zigzag",
    "sine": "moves in waves",
    "bounce": "bounces",
    "still": "stays still",
}
_ROWS, _COLUMNS = ("top", "", "bottom"), ("left", "", "right")

# Every word a caption can have: the vocabulary of the tokenizer is made of these.
GRAMMAR = (
    "a an small large on background moves in straight line along curve loop zigzag waves bounces "
    "stays still from the to starting at top bottom left right center up down and clockwise "
    "counterclockwise grows shrinks , . camera pans zooms out shakes"
)


def appearance_caption(color: str, shape: str, style: str, background_color: str) -> str:
    """Describe what is seen, not how it moves."""
    return f"{_with_article(f'{color} {shape}')} on a {style} {background_color} background"


def shape_caption(shape: str) -> str:
    """Name the shape alone, and leave all other looks unsaid."""
    return _with_article(shape)


def _with_article(subject: str) -> str:
    return f"{'an' if subject.startswith('orange') else 'a'} {subject}"


def place_name(x: float, y: float) -> str:
    """Name the ninth of the screen a position in pixels is in, e.g. "top left"."""
    row, column = (
        names[min(2, int(3 * np.clip(value / FRAME_SIZE, 0, 1)))]
        for names, value in ((_ROWS, y), (_COLUMNS, x))
    )
    return f"{row} {column}".strip() or "center"


def direction_name(dx: float, dy: float) -> str:
    """Name the direction of a displacement in pixels, e.g. "right" or "up and left"."""
    across = "" if abs(dx) < 0.4 * abs(dy) else ("right" if dx > 0 else "left")
    along = "" if abs(dy) < 0.4 * abs(dx) else ("down" if dy > 0 else "up")
    return " and ".join(word for word in (along, across) if word)


def turning_name(scene: Scene) -> str:
    """Tell in which sense a loop turns, as seen on the screen."""
    x, y = (scene.path - scene.path.mean(axis=0)).T
    signed_area = np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])
    return "clockwise" if signed_area > 0 else "counterclockwise"  # y points down


def write_caption(scene: Scene, rng: Generator, motion_words: bool | None = None) -> str:
    """Describe a scene, leaving out at random what a caption may leave out.

    Args:
        scene: What to describe.
        rng: Source of randomness.
        motion_words: Whether to say how the shape moves; None leaves it to chance.

    Returns:
        The caption, in lower case.
    """
    subject = f"{scene.color} {scene.shape}"
    mean_radius = float(scene.radius.mean())
    if rng.random() < SIZE_ADJECTIVE_PROBABILITY:
        if mean_radius < SMALL_BELOW:
            subject = f"small {subject}"
        elif mean_radius > LARGE_ABOVE:
            subject = f"large {subject}"
    background = f"on a {scene.background.style} {scene.background.color} background"
    parts = [_with_article(subject)]
    by_chance = rng.random() < MOTION_WORDS_PROBABILITY
    if by_chance if motion_words is None else motion_words:
        parts.append(_motion_words(scene, rng))
        grows = scene.radius[-1] - scene.radius[0]
        if not scene.camera_motion and abs(grows) > 2 and rng.random() < SIZE_WORDS_PROBABILITY:
            parts.append("and grows" if grows > 0 else "and shrinks")
    parts.append(background)
    caption = " ".join(parts)
    if scene.camera_motion and rng.random() < CAMERA_WORDS_PROBABILITY:
        caption += f", the camera {scene.camera_motion}"
    return caption


def _motion_words(scene: Scene, rng: Generator) -> str:
    phrase = MOTION_PHRASES[scene.motion]
    start, end = scene.path[0], scene.path[-1]
    if scene.motion == "line" and rng.random() < 0.5:
        phrase = f"moves {direction_name(*(end - start))}"
    if scene.motion == "loop" and rng.random() < 0.5:
        phrase = f"moves in a {turning_name(scene)} loop"
    if rng.random() >= PLACES_PROBABILITY:
        return phrase
    if scene.motion == "still":
        return phrase if scene.camera_motion else f"{phrase} at the {place_name(*start)}"
    if scene.motion == "loop":
        return f"{phrase} starting at the {place_name(*start)}"
    return f"{phrase} from the {place_name(*start)} to the {place_name(*end)}"
