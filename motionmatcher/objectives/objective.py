"""What every objective of training has: checks, random draws, a loss."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.bases.layout import BaseLayout
from motionmatcher.config.settings import TrainSettings
from motionmatcher.features.maps import Size
from motionmatcher.random_streams import generator


@dataclass(frozen=True)
class TrainingLoss:
    """A loss as the weighted parts it is the sum of.

    Attributes:
        parts: Name -> scalar.
    """

    parts: Mapping[str, Tensor]

    @property
    def total(self) -> Tensor:
        """Sum of all parts, to be minimised."""
        first, *others = self.parts.values()
        return sum(others, start=first)


@dataclass(frozen=True)
class Batch:
    """What one loss is computed of.

    Attributes:
        latents: Clean reference latents (B, C, F, h, w).
        text_states: The reference's encoded prompt (B, T, D).
        noise: The true noise (B, C, F, h, w).
        timesteps: One per batch element (B,).
        extra: What an objective draws besides, by name.
        clip: Index of the reference clip that it is of, where the run has several.
    """

    latents: Tensor
    text_states: Tensor
    noise: Tensor
    timesteps: Tensor
    extra: Mapping[str, Any] = field(default_factory=dict)
    clip: int = 0


class Objective(ABC):
    """What a training step minimises.

    A subclass gives a name and a loss, and is used by `train(objective=…)`, or by its name in a config
    once `register_objective` knows it. The order of calls is `check` (no weights are read yet),
    `prepare` (the base is there, with its LoRA), then `draw` and `loss` for each batch.

    Attributes:
        name: As the setting `objective` names it.
        base: The base model, whose LoRA is on, as the student; there after `prepare`.
        settings: All settings of the run; there after `prepare`.
    """

    name: ClassVar[str]
    base: BaseModel
    settings: TrainSettings

    def check(self, settings: TrainSettings, layout: BaseLayout) -> Mapping[str, Size]:
        """Refuse settings, or a base, that the objective cannot do with; before weights are read.

        Args:
            settings: All settings of the run, its sizes resolved.
            layout: The base model's folder and configs.

        Returns:
            Heights and widths for a dry run to show, by name.

        Raises:
            UserError: Names the setting and what to do.
        """
        return {}

    def prepare(
        self, base: BaseModel, settings: TrainSettings, latent_size: tuple[int, int]
    ) -> None:
        """Take the loaded base, once before the first batch.

        Args:
            base: The base model with its LoRA.
            settings: All settings of the run.
            latent_size: Height and width of the latents.
        """
        self.base, self.settings = base, settings

    def draw(self, latents: Tensor, text_states: Tensor, *place: int) -> Batch:
        """Draw noise and timesteps on the CPU, each from a random stream of its own.

        Args:
            latents: Clean reference latents (1, C, F, h, w), whose device the draws go to.
            text_states: The reference's encoded prompt (1, T, D).
            place: Step, accumulation step, process: what the streams' seeds depend on.
        """
        settings, batch_size = self.settings, self.settings.train_batch_size
        shape = (batch_size, *latents.shape[1:])
        noise = torch.randn(shape, generator=generator(settings.seed, "noise", *place))
        if settings.use_offset_noise:
            # One offset per channel and frame, the same all over the frame.
            offsets = torch.randn(
                *shape[:3], 1, 1, generator=generator(settings.seed, "offset noise", *place)
            )
            noise = noise + settings.offset_noise_strength * offsets
        schedule = self.base.schedule
        places = torch.randint(
            settings.min_timestep,
            schedule.num_train_timesteps,
            (batch_size,),
            generator=generator(settings.seed, "timesteps", *place),
        )
        return Batch(
            latents=latents.expand(batch_size, -1, -1, -1, -1),
            text_states=text_states.expand(batch_size, -1, -1),
            noise=noise.to(latents),
            timesteps=schedule.timestep_at(places).to(latents.device),
        )

    @abstractmethod
    def loss(self, batch: Batch) -> TrainingLoss:
        """Compute the loss of a batch; gradient flows to the LoRA."""
