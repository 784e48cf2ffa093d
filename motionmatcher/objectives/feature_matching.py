"""The method's objective: motion features one DDIM step later (Sec. 3.3)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.bases.layout import BaseLayout
from motionmatcher.config.settings import TrainSettings
from motionmatcher.diffusion.schedules import (
    add_noise,
    ddim_step,
    prediction_scale,
    true_prediction,
)
from motionmatcher.errors import UserError
from motionmatcher.features.extractor import MotionExtractor
from motionmatcher.features.maps import MotionFeatures, Size
from motionmatcher.objectives.objective import Batch, Objective, TrainingLoss

# Timesteps of the DDIM step beyond which the features are no longer linear: at 5 the loss is 7.5 % off.
MAX_TANGENT_STEPS = 5


class FeatureMatching(Objective):
    """Match the motion features of the student's prediction with those of the true one.

    Attributes:
        extractors: Read motion features with the LoRA off, one for each clip's prompt; there after
            `prepare`.
    """

    name = "feature_matching"
    extractors: list[MotionExtractor]

    def check(self, settings: TrainSettings, layout: BaseLayout) -> Mapping[str, Size]:
        """Check step and weights, and that the base has attention maps of the sizes asked for."""
        extractor, data = settings.motion_extractor, settings.train_data
        schedule = layout.read_schedule(flow_shift=settings.flow_shift)
        if schedule.timestep_at(settings.min_timestep) < extractor.num_denoise_steps:
            raise UserError(
                f"min_timestep {settings.min_timestep} is below motion_extractor.num_denoise_steps "
                f"{extractor.num_denoise_steps}: the step would leave the schedule."
            )
        if extractor.mode == "tangent" and extractor.num_denoise_steps > MAX_TANGENT_STEPS:
            raise UserError(
                "motion_extractor.mode: tangent is right for short steps only: num_denoise_steps must "
                f"be at most {MAX_TANGENT_STEPS}, not {extractor.num_denoise_steps}; or use mode: "
                "difference."
            )
        if settings.loss_weights.spatial_loss == settings.loss_weights.temporal_loss == 0:
            raise UserError("loss_weights: both weights are 0, so nothing would be trained.")
        *_, height, width = layout.latent_shape(data.n_sample_frames, data.width, data.height)
        denoiser = layout.denoiser
        layers = denoiser.part_class.choose_layers(denoiser.config, (height, width), extractor)
        return {
            "cross_attention_map_size": layers.cross_size,
            "temporal_attention_map_size": layers.temporal_size,
        }

    def prepare(
        self, base: BaseModel, settings: TrainSettings, latent_size: tuple[int, int]
    ) -> None:
        """Choose the layers whose features are compared."""
        super().prepare(base, settings, latent_size)
        self.extractors = []
        for data in settings.train_data.each:
            num_own_tokens = None
            if base.text is not None:  # it is for a cost estimate, where all tokens count
                num_own_tokens = base.text.count_tokens(data.single_video_prompt)
            self.extractors.append(
                MotionExtractor(
                    base.denoiser, latent_size, settings.motion_extractor, num_own_tokens
                )
            )

    def loss(self, batch: Batch) -> TrainingLoss:
        """Compare features of where one short step from z_t leads, by prediction and by truth."""
        base, settings, extractor = self.base, self.settings, self.extractors[batch.clip]
        schedule, timesteps, text_states = base.schedule, batch.timesteps, batch.text_states
        # z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps, (B, C, F, h, w)
        noisy = add_noise(batch.latents, batch.noise, timesteps, schedule)
        earlier = timesteps - settings.motion_extractor.num_denoise_steps

        # z_true: one short DDIM step from z_t with the true prediction, eps or velocity.
        truth = true_prediction(batch.latents, batch.noise, timesteps, schedule)
        true_latents = ddim_step(noisy, truth, timesteps, earlier, schedule)

        if settings.motion_extractor.mode == "tangent":
            # The step is linear in the prediction: z_pred - z_true = k(t) (prediction - truth). The
            # features' Jacobian times that is their change, without a subtraction that cancels.
            def change_by(prediction: Tensor) -> MotionFeatures:
                error = prediction - truth
                scale = prediction_scale(timesteps, earlier, schedule, like=error)
                return extractor.change(true_latents, scale * error, earlier, text_states)
        else:
            with torch.no_grad():  # before the student: no graph takes memory yet
                target = extractor(true_latents, earlier, text_states)

            # z_pred: the same step from the same z_t with a prediction, which the frozen base reads (LoRA
            # off): the gradient reaches the LoRA through z_pred alone.
            def change_by(prediction: Tensor) -> MotionFeatures:
                predicted_latents = ddim_step(noisy, prediction, timesteps, earlier, schedule)
                return extractor(predicted_latents, earlier, text_states) - target

        base_change = None
        if settings.feature_loss == "relative":
            with torch.no_grad(), base.denoiser.lora_at(0):
                base_change = change_by(base.denoiser.predict(noisy, timesteps, text_states))
        prediction = base.denoiser.predict(noisy, timesteps, text_states)  # the student's: LoRA on
        change = change_by(prediction)
        weights = settings.loss_weights.spatial_loss, settings.loss_weights.temporal_loss
        return weigh_change(change, *weights, settings.feature_loss, base_change)


def weigh_change(
    change: MotionFeatures,
    spatial_weight: float,
    temporal_weight: float,
    feature_loss: str = "squared",
    base_change: MotionFeatures | None = None,
) -> TrainingLoss:
    """Weigh how far motion features are from their target.

    Their mean square is the published loss (Sec. 3.3). It differs between noise levels by far more than
    the step's length explains, so that few levels decide what is learnt. The gradient of its logarithm is
    its own divided by its size: each video of the batch, and each kind of map, then counts alike. So
    does what is left of the base's own error, but less the better a video is matched.

    Args:
        change: Predicted features less target features.
        spatial_weight: Weight of the cross-attention maps.
        temporal_weight: Weight of the temporal attention maps.
        feature_loss: The setting: "squared", "log" or "relative".
        base_change: The base's features less target features, for "relative".

    Returns:
        Parts "spatial" (cross-attention) and "temporal".
    """
    maps = change.cross_attention, change.temporal_attention
    if feature_loss == "squared":
        spatial, temporal = (kind.square().mean() for kind in maps)
    elif feature_loss == "log":
        spatial, temporal = (mean_squares(kind).log().mean() for kind in maps)
    else:
        assert base_change is not None
        base_maps = base_change.cross_attention, base_change.temporal_attention
        spatial, temporal = (
            (mean_squares(kind) / mean_squares(base_kind)).mean()
            for kind, base_kind in zip(maps, base_maps, strict=True)
        )
    return TrainingLoss(
        {"spatial": spatial_weight * spatial, "temporal": temporal_weight * temporal}
    )


def mean_squares(maps: Tensor) -> Tensor:
    """Mean square for each video of a batch, positive: (B, ...) -> (B,)."""
    return maps.square().flatten(1).mean(1).clamp_min(torch.finfo(maps.dtype).tiny)
