"""Prompts of held-out appearances, with what each of them promises."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from testbed.captions import appearance_caption, write_caption
from testbed.motion_words import WORD_KINDS, said_words
from testbed.renderer import Scene
from testbed.scenes import sample_scene, scene_stream
from testbed.tracker import ClipMeasurement

PROMPT_SEED = 2000  # never a training seed


@dataclass(frozen=True)
class HeldOutPrompt:
    """A prompt and the scene it was written for.

    Attributes:
        text: The prompt.
        scene: A scene the prompt is true of; of what the text does not say, one of many.
        names_motion: Whether the text says how the shape moves.
        only_words: Kinds of motion words (`WORD_KINDS`) that are measured on it, and nothing else of it;
            None for all that there is to measure.
    """

    text: str
    scene: Scene
    names_motion: bool
    only_words: frozenset[str] | None = None

    def followed_words(self, measured: ClipMeasurement) -> dict[str, bool]:
        """Compare the motion of a video with what the prompt says about it.

        Args:
            measured: The video, with an object in its first and last frame at least.

        Returns:
            Whether each thing the prompt says is so, by the names of `WORD_KINDS`; what it does not say,
            or is not measured on, is left out.
        """
        return {kind: is_so(measured) for kind, is_so in self._checks().items()}

    def measured_words(self) -> set[str]:
        """The kinds of motion words that are measured on it."""
        return set(self._checks())

    def _checks(self) -> dict[str, Callable[[ClipMeasurement], bool]]:
        if not self.names_motion:
            return {}
        checks = said_words(self.scene, self.text)
        if self.only_words is None:
            return checks
        return {kind: check for kind, check in checks.items() if kind in self.only_words}


def held_out_prompts(
    count: int, prompts_per_word: int = 0, seed: int = PROMPT_SEED
) -> list[HeldOutPrompt]:
    """Write prompts for appearances that no training saw.

    Args:
        count: How many; every second one says how the shape moves.
        prompts_per_word: For how many prompts each of `WORD_KINDS` is wanted: further ones follow,
            each for the kinds alone that were still too rare before it.
        seed: Fixes them.

    Returns:
        The prompts, the first `count` of them the same whatever `prompts_per_word`.
    """
    prompts = [_held_out_prompt(seed, index) for index in range(count)]
    counts = Counter(kind for prompt in prompts for kind in prompt.measured_words())
    further = itertools.count(count)
    while rare := {kind for kind in WORD_KINDS if counts[kind] < prompts_per_word}:
        prompt = _held_out_prompt(seed, next(further))
        if measured := rare & prompt.measured_words():
            prompts.append(dataclasses.replace(prompt, only_words=frozenset(measured)))
            counts.update(measured)
    return prompts


def _held_out_prompt(seed: int, index: int) -> HeldOutPrompt:
    rng = scene_stream(seed, "test", index)
    scene = sample_scene(rng, "test")
    names_motion = index % 2 == 1
    if names_motion:
        text = write_caption(scene, rng, motion_words=True)
    else:
        background = scene.background
        text = appearance_caption(scene.color, scene.shape, background.style, background.color)
    return HeldOutPrompt(text, scene, names_motion)
