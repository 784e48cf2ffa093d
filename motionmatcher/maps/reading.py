"""The two motion features of a reference, read as training reads their target (Sec. 3.3)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.config.settings import TrainSettings
from motionmatcher.diffusion.schedules import add_noise, ddim_step, true_prediction
from motionmatcher.features.extractor import MotionExtractor
from motionmatcher.maps.words import Word
from motionmatcher.random_streams import generator


@dataclass(frozen=True)
class ReferenceMaps:
    """What the features see at one noise level. P places, row by row, F frames of the latents.

    Attributes:
        timestep: As `min_timestep` counts.
        signal: What the clean latents are multiplied with.
        noise: What the noise is multiplied with.
        cross_attention: Share of a place's attention that each token of the prompt gets (F, h, w, T).
        frame_attention: Share of a place's attention that each frame gets, by the frame that attends
            (F, h, w, F); None where the feature is another one.
        flow: Where in each frame a place's attention lies on average (F, h, w, F, 2), see
            `attention_maps.flow`; None where the feature is another one.
    """

    timestep: int
    signal: float
    noise: float
    cross_attention: Tensor
    frame_attention: Tensor | None
    flow: Tensor | None

    def of_word(self, word: Word) -> Tensor:
        """Share of a place's attention that a word gets, its tokens together (F, h, w)."""
        return self.cross_attention[..., list(word.tokens)].sum(-1)


@torch.no_grad()
def read_reference_maps(
    base: BaseModel, settings: TrainSettings, latents: Tensor, timesteps: Iterable[int]
) -> list[ReferenceMaps]:
    """Read the features of a reference, one pass of the frozen base for each timestep.

    Args:
        base: The base model.
        settings: The run's.
        latents: The reference's (1, C, F, h, w).
        timesteps: Where it is noised to, as `min_timestep` counts.
    """
    prompt = settings.train_data.first.single_video_prompt
    num_own = base.text.count_tokens(prompt)
    states = base.text.encode([prompt])
    extractor = MotionExtractor(
        base.denoiser, (latents.shape[-2], latents.shape[-1]), settings.motion_extractor, num_own
    )
    schedule, found = base.schedule, []
    for timestep in timesteps:
        stream = generator(settings.seed, "maps", timestep)
        noise = torch.randn(latents.shape, generator=stream).to(latents)
        place = torch.tensor([timestep], device=latents.device)
        told = schedule.timestep_at(place)
        earlier = told - settings.motion_extractor.num_denoise_steps
        noisy = add_noise(latents, noise, told, schedule)
        truth = true_prediction(latents, noise, told, schedule)
        true_latents = ddim_step(noisy, truth, told, earlier, schedule)
        features = extractor(true_latents, earlier, states)
        shares, flow = by_place(
            features.temporal_attention[0].cpu(), latents.shape[2], extractor.layers.temporal_size
        )
        signal, level = (scale.item() for scale in schedule.scales(told, latents))
        cross = features.cross_attention[0, ..., :num_own].cpu()
        found.append(ReferenceMaps(timestep, signal, level, cross, shares, flow))
    return found


def by_place(
    maps: Tensor, num_frames: int, size: tuple[int, int]
) -> tuple[Tensor | None, Tensor | None]:
    """Order a temporal map, of any kind that there is, by frame and place.

    Args:
        maps: Of one video, as `gather_features` gives it: (P, F, F), (F*P, 1, F) or (F*P, F, 2).
        num_frames: F.
        size: Height and width of the grid of places.

    Returns:
        Shares of attention (F, h, w, F), or None and positions (F, h, w, F, 2).
    """
    height, width = size
    if len(maps) == height * width and maps.shape[1] == num_frames:
        return rearrange(maps, "(h w) f g -> f h w g", h=height), None
    if maps.shape[1] == 1:
        return rearrange(maps, "(f h w) 1 g -> f h w g", f=num_frames, h=height), None
    return None, rearrange(maps, "(f h w) g c -> f h w g c", f=num_frames, h=height)


def own_frame(shares: Tensor) -> Tensor:
    """How much more a place keeps to its own frame than most places of that frame do.

    What is at a place for a moment alone is found in no other frame, so attention stays. What frames
    have in common, such as that the first and last have fewer neighbours, is taken out.

    Args:
        shares: (F, h, w, F).

    Returns:
        Share of attention above the frame's median, at least 0 (F, h, w).
    """
    own = torch.diagonal(shares, dim1=0, dim2=3).permute(2, 0, 1)  # (F, h, w)
    usual = own.flatten(1).quantile(0.5, dim=1)
    return (own - usual[:, None, None]).clamp(min=0)


def displacements(flow: Tensor) -> Tensor:
    """Where a place's attention moves to in the next frame, from where it lies in its own.

    Args:
        flow: (F, h, w, F, 2).

    Returns:
        Columns and rows as shares of the frame (F - 1, h, w, 2).
    """
    frames = torch.arange(len(flow) - 1)
    here, there = flow[frames, :, :, frames], flow[frames, :, :, frames + 1]
    return there - here
