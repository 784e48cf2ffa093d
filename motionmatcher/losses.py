"""Training objectives: pure functions of tensors."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import mse_loss

from motionmatcher.features import MotionFeatures


@dataclass(frozen=True)
class FeatureMatchingLoss:
    """The loss and its two weighted parts, scalars.

    Attributes:
        spatial: `spatial_weight * MSE` of the cross-attention maps.
        temporal: `temporal_weight * MSE` of the temporal attention maps.
    """

    spatial: Tensor
    temporal: Tensor

    @property
    def total(self) -> Tensor:
        """Sum of both parts, to be minimised."""
        return self.spatial + self.temporal


def match_features(
    predicted: MotionFeatures, target: MotionFeatures, spatial_weight: float, temporal_weight: float
) -> FeatureMatchingLoss:
    """Compare motion features (Sec. 3.3): weighted mean squared errors of both kinds of maps.

    Args:
        predicted: Features of the latents that the student's prediction leads to.
        target: Features of the latents that the true noise leads to; no gradient flows here.
        spatial_weight: Weight of the cross-attention maps.
        temporal_weight: Weight of the temporal attention maps.
    """
    return FeatureMatchingLoss(
        spatial=spatial_weight * mse_loss(predicted.cross_attention, target.cross_attention),
        temporal=temporal_weight
        * mse_loss(predicted.temporal_attention, target.temporal_attention),
    )
