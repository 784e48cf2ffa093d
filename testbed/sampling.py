"""Sample many videos of the small base, by the project's one sampling loop."""

from collections.abc import Iterable, Iterator, Sequence

from tqdm import tqdm

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.clips.video import Frames
from motionmatcher.diffusion.sampling import SamplingSettings, sample_latents
from testbed.renderer import FRAME_SIZE

BATCH_SIZE = 10


def base_sampling(
    num_frames: int, num_steps: int, guidance_scale: float, solver: str | None = None
) -> SamplingSettings:
    """Settings that sample the base alone: no LoRA, no noise of a reference.

    Args:
        num_frames: Frames of a video.
        num_steps: Steps of the solver.
        guidance_scale: Scale of classifier-free guidance; 1 is off.
        solver: One of `settings.SCHEDULERS`; None for the base's own.
    """
    return SamplingSettings(
        num_frames=num_frames,
        width=FRAME_SIZE,
        height=FRAME_SIZE,
        num_inference_steps=num_steps,
        guidance_scale=guidance_scale,
        lora_scale=0.0,
        noise_prior=0.0,
        min_timestep=0,
        scheduler=solver,
    )


def sample_videos(
    base: BaseModel, prompts: Sequence[str], seeds: Sequence[int], settings: SamplingSettings
) -> list[Frames]:
    """Sample one video per prompt, with a progress bar.

    Args:
        base: The model.
        prompts: What to show.
        seeds: Seed of each video's start noise.
        settings: How to sample; without a noise prior.

    Returns:
        One uint8 (F, H, W, 3) array a prompt.
    """
    text_states = base.text.encode(prompts)  # (videos, T, D)
    negative_states = base.text.encode([settings.negative_prompt])
    videos: list[Frames] = []
    starts = range(0, len(prompts), BATCH_SIZE)
    with tqdm(total=len(starts) * settings.num_inference_steps, desc="sampling") as bar:

        def counted(steps: Iterable) -> Iterator:
            for step in steps:
                yield step
                bar.update()

        for start in starts:
            batch = slice(start, start + BATCH_SIZE)
            latents = sample_latents(
                base, text_states[batch], negative_states, seeds[batch], settings, None, counted
            )
            videos += [base.codec.decode(video) for video in latents]
    return videos
