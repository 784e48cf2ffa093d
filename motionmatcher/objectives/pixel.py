"""Objectives on the prediction itself, which the method is compared with.

They compare a model's prediction with the true one (noise, or velocity for a v-prediction base), both
(B, C, F, h, w).
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, mse_loss

from motionmatcher.bases.layout import BaseLayout
from motionmatcher.config.settings import TrainSettings
from motionmatcher.diffusion.schedules import add_noise, true_prediction
from motionmatcher.errors import UserError
from motionmatcher.features.maps import Size
from motionmatcher.objectives.objective import Batch, Objective, TrainingLoss
from motionmatcher.random_streams import generator


class PixelObjective(Objective):
    """An objective that compares predictions; a subclass says how.

    Attributes:
        min_frames: Frames that it needs.
    """

    min_frames: ClassVar[int] = 1

    def check(self, settings: TrainSettings, layout: BaseLayout) -> Mapping[str, Size]:
        """Check that there are frames enough."""
        if settings.train_data.n_sample_frames < self.min_frames:
            raise UserError(
                f"objective: {self.name} needs train_data.n_sample_frames of {self.min_frames} or more, "
                f"not {settings.train_data.n_sample_frames}."
            )
        return {}

    def loss(self, batch: Batch) -> TrainingLoss:
        """Predict from noisy latents and compare."""
        noisy = add_noise(batch.latents, batch.noise, batch.timesteps, self.base.schedule)
        truth = true_prediction(batch.latents, batch.noise, batch.timesteps, self.base.schedule)
        prediction = self.base.denoiser.predict(noisy, batch.timesteps, batch.text_states)
        return self.compare(prediction, truth, batch)

    @abstractmethod
    def compare(self, prediction: Tensor, truth: Tensor, batch: Batch) -> TrainingLoss:
        """Compare a prediction with the true one.

        Args:
            prediction: The model's (B, C, F, h, w).
            truth: Noise or velocity, same shape.
            batch: What was drawn.
        """


class Denoising(PixelObjective):
    """What base models are trained with: the mean squared error (DDPM, Eq. 14)."""

    name = "denoising"

    def compare(self, prediction: Tensor, truth: Tensor, batch: Batch) -> TrainingLoss:
        """Give the part "denoising"."""
        return TrainingLoss({"denoising": mse_loss(prediction, truth)})


class FrameDifference(PixelObjective):
    """Mean squared error of neighbouring frames' differences (VMC's objective, arXiv:2312.00845)."""

    name = "frame_difference"
    min_frames = 2

    def compare(self, prediction: Tensor, truth: Tensor, batch: Batch) -> TrainingLoss:
        """Give the part "frame_difference"."""
        error = mse_loss(frame_differences(prediction), frame_differences(truth))
        return TrainingLoss({"frame_difference": error})


class VMC(PixelObjective):
    """Frame differences as code calls them VMC's: absolute, compared by their cosine along frames.

    The cosine is taken at each place and channel over the F - 1 differences. VMC's own program
    (train_inference.py) has that part alone; those who take it up add the denoising loss, as here.
    """

    name = "vmc"
    min_frames = 2

    def compare(self, prediction: Tensor, truth: Tensor, batch: Batch) -> TrainingLoss:
        """Give the parts "denoising" and "frame_direction"."""
        similarity = cosine_similarity(
            frame_differences(prediction).abs(), frame_differences(truth).abs(), dim=2
        )
        return TrainingLoss(
            {"denoising": mse_loss(prediction, truth), "frame_direction": 1 - similarity.mean()}
        )


class MotionDirector(PixelObjective):
    """MotionDirector's loss of its temporal path (arXiv:2310.08465, Sec. 3.2, beta = 1).

    Beside the denoising loss, the same on `sqrt(2) x - x_anchor`: what all frames share with the
    anchor, the appearance, weighs less. Which frame is the anchor is drawn for each batch.
    """

    name = "motiondirector"

    def draw(self, latents: Tensor, text_states: Tensor, *place: int) -> Batch:
        """Draw the index of the anchor frame as well."""
        batch = super().draw(latents, text_states, *place)
        stream = generator(self.settings.seed, "anchor frame", *place)
        anchor = torch.randint(latents.shape[2], (), generator=stream)
        return replace(batch, extra={"anchor_frame": int(anchor)})

    def compare(self, prediction: Tensor, truth: Tensor, batch: Batch) -> TrainingLoss:
        """Give the parts "denoising" and "debiased"."""
        anchor_frame = batch.extra["anchor_frame"]
        return TrainingLoss(
            {
                "denoising": mse_loss(prediction, truth),
                "debiased": mse_loss(debias(prediction, anchor_frame), debias(truth, anchor_frame)),
            }
        )


def frame_differences(video: Tensor) -> Tensor:
    """Each frame's change to the next: (B, C, F, h, w) -> (B, C, F - 1, h, w)."""
    return video[:, :, 1:] - video[:, :, :-1]


def debias(video: Tensor, anchor_frame: int) -> Tensor:
    """`sqrt(2) x - x_anchor` for every frame x, same shape; keeps the variance of white noise."""
    return 2**0.5 * video - video[:, :, anchor_frame : anchor_frame + 1]
