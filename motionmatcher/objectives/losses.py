"""Losses: pure functions of tensors.

The pixel-level ones are what the method is compared with. They take a model's prediction and the
true one (noise, or velocity for a v-prediction base), both (B, C, F, h, w).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cosine_similarity, mse_loss

from motionmatcher.features.maps import MotionFeatures


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


def match_features(
    predicted: MotionFeatures, target: MotionFeatures, spatial_weight: float, temporal_weight: float
) -> TrainingLoss:
    """Compare motion features (Sec. 3.3): weighted mean squared errors of both kinds of maps.

    Args:
        predicted: Features of the latents that the student's prediction leads to.
        target: Features of the latents that the true noise leads to; no gradient flows here.
        spatial_weight: Weight of the cross-attention maps.
        temporal_weight: Weight of the temporal attention maps.

    Returns:
        Parts "spatial" and "temporal".
    """
    change = MotionFeatures(
        predicted.cross_attention - target.cross_attention,
        predicted.temporal_attention - target.temporal_attention,
    )
    return weigh_change(change, spatial_weight, temporal_weight)


def weigh_change(
    change: MotionFeatures, spatial_weight: float, temporal_weight: float
) -> TrainingLoss:
    """Weigh how far motion features are from their target, which is `match_features` of both.

    Args:
        change: Predicted features less target features.
        spatial_weight: Weight of the cross-attention maps.
        temporal_weight: Weight of the temporal attention maps.
    """
    return TrainingLoss(
        {
            "spatial": spatial_weight * change.cross_attention.square().mean(),
            "temporal": temporal_weight * change.temporal_attention.square().mean(),
        }
    )


def denoising_loss(prediction: Tensor, truth: Tensor) -> TrainingLoss:
    """What base models are trained with: the mean squared error (DDPM, Eq. 14)."""
    return TrainingLoss({"denoising": mse_loss(prediction, truth)})


def frame_difference_loss(prediction: Tensor, truth: Tensor) -> TrainingLoss:
    """Mean squared error of neighbouring frames' differences (VMC's objective, arXiv:2312.00845)."""
    return TrainingLoss(
        {"frame_difference": mse_loss(frame_differences(prediction), frame_differences(truth))}
    )


def vmc_loss(prediction: Tensor, truth: Tensor) -> TrainingLoss:
    """Frame differences as code calls them VMC's: absolute, compared by their cosine along frames.

    The cosine is taken at each place and channel over the F - 1 differences. VMC's own program
    (train_inference.py) has that part alone; those who take it up add the denoising loss, as here.
    """
    similarity = cosine_similarity(
        frame_differences(prediction).abs(), frame_differences(truth).abs(), dim=2
    )
    return TrainingLoss(
        {"denoising": mse_loss(prediction, truth), "frame_direction": 1 - similarity.mean()}
    )


def debiased_loss(prediction: Tensor, truth: Tensor, anchor_frame: int) -> TrainingLoss:
    """MotionDirector's loss of its temporal path (arXiv:2310.08465, Sec. 3.2, beta = 1).

    Beside the denoising loss, the same on `sqrt(2) x - x_anchor`: what all frames share with the
    anchor, the appearance, weighs less.

    Args:
        prediction: The model's (B, C, F, h, w).
        truth: The true one, same shape.
        anchor_frame: Index of the frame that is taken off, drawn anew each step.
    """
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
