"""Prompts of held-out appearances, with what each of them promises."""

from dataclasses import dataclass

from testbed.captions import appearance_caption, write_caption
from testbed.renderer import Scene
from testbed.scenes import sample_scene, scene_stream

PROMPT_SEED = 2000  # never a training seed


@dataclass(frozen=True)
class HeldOutPrompt:
    """A prompt and the scene it was written for.

    Attributes:
        text: The prompt.
        scene: A scene the prompt is true of; of what the text does not say, one of many.
        names_motion: Whether the text says how the shape moves.
    """

    text: str
    scene: Scene
    names_motion: bool


def held_out_prompts(count: int, seed: int = PROMPT_SEED) -> list[HeldOutPrompt]:
    """Write prompts for appearances that no training saw.

    Args:
        count: How many; every second one says how the shape moves.
        seed: Fixes them.

    Returns:
        The prompts.
    """
    prompts = []
    for index in range(count):
        rng = scene_stream(seed, "test", index)
        scene = sample_scene(rng, "test")
        names_motion = index % 2 == 1
        if names_motion:
            text = write_caption(scene, rng, motion_words=True)
        else:
            background = scene.background
            text = appearance_caption(scene.color, scene.shape, background.style, background.color)
        prompts.append(HeldOutPrompt(text, scene, names_motion))
    return prompts
