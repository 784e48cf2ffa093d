"""Previews during training: videos, and a contact sheet of them beside the reference's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from motionmatcher.base_model import BaseModel
from motionmatcher.contact_sheet import write_contact_sheet
from motionmatcher.files import unique_slugs
from motionmatcher.sampling import Progress, SamplingSettings, sample_latents
from motionmatcher.video import Frames, write_mp4


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
        reference_frames: The reference, as the VAE shows it.
        fps: Frames per second of the videos.
    """

    base: BaseModel
    prompts: Sequence[str]
    text_states: Tensor
    negative_states: Tensor
    seed: int
    settings: SamplingSettings
    inversion_noise: Tensor | None
    reference_frames: Frames
    fps: float

    def write(self, folder: Path, step: int, progress: Progress) -> Path:
        """Generate the previews of a step.

        Args:
            folder: Gets `step-N_<prompt>_<seed>.mp4` a prompt and `step-N.png`.
            step: Updates made so far.
            progress: Wraps the sampling steps.

        Returns:
            The contact sheet's path.
        """
        clips = [self.reference_frames]
        for index, name in enumerate(unique_slugs(self.prompts)):
            latents = sample_latents(
                self.base,
                self.text_states[index : index + 1],
                self.negative_states,
                [self.seed],
                self.settings,
                self.inversion_noise,
                progress,
            )
            frames = self.base.decode_video(latents[0])
            write_mp4(folder / f"step-{step:05d}_{name}_{self.seed}.mp4", frames, self.fps)
            clips.append(frames)
        sheet = folder / f"step-{step:05d}.png"
        labels = ["reference", *(f"step {step}: {prompt}" for prompt in self.prompts)]
        write_contact_sheet(sheet, [np.asarray(clip) for clip in clips], labels)
        return sheet
