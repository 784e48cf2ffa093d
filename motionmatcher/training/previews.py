"""Previews during training: videos, and a contact sheet of them beside the reference's."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.clips.contact_sheet import write_contact_sheet
from motionmatcher.clips.video import Frames, write_mp4
from motionmatcher.diffusion.sampling import SamplingSettings, sample_latents
from motionmatcher.files import unique_slugs
from motionmatcher.reporting import progress_bar


@dataclass
class Previewer:
    """Generates one video a prompt, always from the same seed, so that previews can be compared.

    Attributes:
        base: The base model with the LoRA.
        prompts: What to show.
        text_states: The encoded prompts (len(prompts), T, D).
        negative_states: The encoded empty prompt (1, T, D).
        seed: Seed of the start noise.
        settings: How to sample.
        inversion_noise: The reference's inversion (1, C, F, h, w), or None without a noise prior.
        references: The reference, or each of several clips, as the VAE shows it, by its label.
        fps: Frames per second of the videos.
    """

    base: BaseModel
    prompts: Sequence[str]
    text_states: Tensor
    negative_states: Tensor
    seed: int
    settings: SamplingSettings
    inversion_noise: Tensor | None
    references: Mapping[str, Frames]
    fps: float

    def sheet(self, folder: Path, step: int) -> Path:
        """Where the contact sheet of a step's previews is or will be."""
        return folder / f"step-{step:05d}.png"

    def write(
        self, folder: Path, step: int, interrupted: Callable[[], bool] = lambda: False
    ) -> bool:
        """Generate the previews of a step.

        Args:
            folder: Gets `step-N_<prompt>_<seed>.mp4` a prompt and, last, `step-N.png`.
            step: Updates made so far.
            interrupted: Asked between sampling steps; when true, the previews are given up.

        Returns:
            Whether they were made.
        """

        def watched(steps: Iterable) -> Iterator:
            for sampling_step in progress_bar(steps, "preview", leave=False):
                if interrupted():
                    raise _GivenUpError
                yield sampling_step

        clips = list(self.references.values())
        for index, name in enumerate(unique_slugs(self.prompts)):
            try:
                latents = sample_latents(
                    self.base,
                    self.text_states[index : index + 1],
                    self.negative_states,
                    [self.seed],
                    self.settings,
                    self.inversion_noise,
                    watched,
                )
            except _GivenUpError:
                return False
            frames = self.base.codec.decode(latents[0])
            write_mp4(folder / f"step-{step:05d}_{name}_{self.seed}.mp4", frames, self.fps)
            clips.append(frames)
        labels = [*self.references, *(f"step {step}: {prompt}" for prompt in self.prompts)]
        write_contact_sheet(self.sheet(folder, step), clips, labels)
        return True


class _GivenUpError(Exception):
    """A preview was interrupted."""
