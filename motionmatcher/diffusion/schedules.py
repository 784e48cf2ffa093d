"""The diffusion process: noising and deterministic DDIM steps.

Notation: `z_0` clean latents, `eps` noise, `abar_t` the cumulative product of alphas up to t,
`z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps`. Latents are (B, C, F, h, w). Everything here is
computed in the dtype of the latents. Flow matching has other scales of signal and noise, in
`flow_schedule`, and predicts another velocity; all else is the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from motionmatcher.config.bounds import MAX_TIMESTEPS, check_bounds
from motionmatcher.errors import UserError

if TYPE_CHECKING:
    from motionmatcher.bases.config_file import BaseConfig

# (latents (B, C, F, h, w), timestep) -> the model's prediction, same shape
Predictor = Callable[[Tensor, float], Tensor]
Place = TypeVar("Place", float, Tensor)


class Schedule(Protocol):
    """What noise and flow schedules have in common.

    Attributes:
        prediction_type: "epsilon", "v_prediction" or "flow_prediction".
        num_train_timesteps: T, one more than the highest place in the schedule.
        scheduler_config: Settings of diffusers' multistep schedulers on this schedule.
        own_solver: The solver that the base is sampled with unless told otherwise.
        inversion_iterations: How often each step of an inversion is repeated unless told otherwise.
        max_sampling_steps: The most steps that it can be walked in.
    """

    inversion_iterations: ClassVar[int]

    @property
    def prediction_type(self) -> str: ...

    @property
    def num_train_timesteps(self) -> int: ...

    @property
    def scheduler_config(self) -> Mapping[str, Any]: ...

    @property
    def own_solver(self) -> str: ...

    @property
    def max_sampling_steps(self) -> int: ...

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], rescale: bool = False, shift: float | None = None
    ) -> "Schedule":
        """Build the schedule of a `scheduler_config.json`, changed as asked.

        Raises:
            UserError: The change is for the other kind of schedule.
        """

    def timestep_at(self, place: Place) -> Place:
        """Give the timestep at a place in the schedule, which `min_timestep` counts in."""

    def scales(self, timesteps: Tensor | Any, like: Tensor) -> tuple[Tensor, Tensor]:
        """Give the scales of signal and noise in `z_t`, ready to be multiplied with latents."""

    def noising_scales(self, timesteps: Tensor | Any, like: Tensor) -> tuple[Tensor, Tensor]:
        """The same for noising, rounded as the published program has them."""

    def sampling_steps(self, num_steps: int) -> Sequence[tuple[Any, Any]]:
        """List the steps from noise to clean as (timestep, next timestep)."""


@dataclass(frozen=True)
class NoiseSchedule:
    """A trained noise schedule and how sampling walks over it.

    Attributes:
        alphas_cumprod: abar_t for t = 0 … T-1, shape (T,), fp32.
        final_alpha_cumprod: abar beyond the last sampling step, where t < 0.
        prediction_type: "epsilon" or "v_prediction".
        timesteps_of: Gives diffusers' DDIM timesteps, descending, for a number of steps.
        scheduler_config: The settings of the DDIM scheduler that it comes from.
    """

    alphas_cumprod: Tensor
    final_alpha_cumprod: float
    prediction_type: str
    timesteps_of: Callable[[int], list[int]]
    scheduler_config: Mapping[str, Any] = field(default_factory=dict)
    own_solver: ClassVar[str] = "ddim"
    inversion_iterations: ClassVar[int] = 0  # as published

    @classmethod
    def check_config(cls, config: "BaseConfig") -> None:
        """Check `scheduler/scheduler_config.json`; the defaults are diffusers' own.

        Raises:
            UserError: Names the file and the key that gives no noise schedule.
        """
        num_timesteps = config.whole("num_train_timesteps", 2, MAX_TIMESTEPS, default=1000)
        config.whole("steps_offset", 0, num_timesteps - 1, default=0)
        config.choice("timestep_spacing", ("leading", "trailing", "linspace"), default="leading")
        for key in ("set_alpha_to_one", "rescale_betas_zero_snr", "clip_sample", "thresholding"):
            config.switch(key)
        config.choice("prediction_type", ("epsilon", "v_prediction"), default="epsilon")
        betas = config.content.get("trained_betas")
        if betas is None:
            config.choice(
                "beta_schedule", ("linear", "scaled_linear", "squaredcos_cap_v2"), default="linear"
            )
            config.number("beta_start", 0, 1, default=0.0001)
            config.number("beta_end", 0, 1, default=0.02)
        elif not isinstance(betas, list) or len(betas) != num_timesteps:
            config.refuse("trained_betas", f"be null or a list of {num_timesteps} numbers")
        else:
            for beta in betas:
                if not isinstance(beta, int | float):
                    config.refuse("trained_betas", "be null or a list of numbers")
                check_bounds(beta, 0, 1, f"{config.file}: trained_betas")
        # The signal fades; it may vanish only where the velocity is predicted.
        schedule = cls.from_config(config.content)
        alphas = schedule.alphas_cumprod
        fades = bool((alphas[1:] <= alphas[:-1]).all()) and float(alphas[-1]) < float(alphas[0])
        vanishes = float(alphas[-1]) <= 0 and schedule.prediction_type == "epsilon"
        if not fades or vanishes:
            raise UserError(
                f"{config.file}: its betas make no noise schedule: the share of signal must fall from "
                "timestep to timestep, and must not end at 0 for prediction_type epsilon."
            )

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], rescale: bool = False, shift: float | None = None
    ) -> "NoiseSchedule":
        """Build the schedule of a `scheduler_config.json`.

        Args:
            config: The settings of a diffusers scheduler; read as DDIM's.
            rescale: Rescale to zero terminal signal-to-noise ratio (arXiv:2305.08891, Algorithm 1),
                and visit the last timestep when sampling. Wants a v-prediction base.
            shift: Has to be None: flow matching alone has one.

        Raises:
            UserError: A shift is given.
        """
        from diffusers import DDIMScheduler

        if shift is not None:
            raise UserError(
                "flow_shift is for bases that were trained by flow matching, and this one has a noise "
                "schedule: set it to null."
            )

        changes = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        scheduler = DDIMScheduler.from_config(dict(config), **(changes if rescale else {}))

        def timesteps_of(num_steps: int) -> list[int]:
            scheduler.set_timesteps(num_steps)
            return scheduler.timesteps.tolist()

        return cls(
            alphas_cumprod=scheduler.alphas_cumprod,
            final_alpha_cumprod=float(scheduler.final_alpha_cumprod),
            prediction_type=scheduler.config.prediction_type,
            timesteps_of=timesteps_of,
            scheduler_config=scheduler.config,
        )

    @property
    def num_train_timesteps(self) -> int:
        """T, the number of timesteps the base was trained with."""
        return len(self.alphas_cumprod)

    @property
    def max_sampling_steps(self) -> int:
        """The most DDIM steps that it can be walked in; the offset moves all of them up."""
        offset: int = self.scheduler_config["steps_offset"]
        return self.num_train_timesteps - offset

    def alpha_cumprod(self, timesteps: Tensor | int, like: Tensor) -> Tensor:
        """Look up abar_t, ready to be multiplied with latents.

        Args:
            timesteps: One timestep, or one a batch element, shape (B,); below 0 means clean.
            like: Latents whose device and rank the result takes.

        Returns:
            abar_t, shape (B or 1, 1, …, 1), fp32.
        """
        final = self.alphas_cumprod.new_tensor(self.final_alpha_cumprod)
        return _look_up(self.alphas_cumprod, final, timesteps, like)

    def scales(self, timesteps: Tensor | int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Look up the scale of the signal, `sqrt(abar_t)`, and of the noise, `sqrt(1 - abar_t)`.

        The roots are in fp32, as diffusers' DDIM has them, and only then brought to the latents'
        dtype: one DDIM step is so short that exact roots change the loss by 7e-5. They are rounded
        correctly, which not every processor's own fp32 root is.

        Args:
            timesteps: As in `alpha_cumprod`.
            like: Latents whose device, dtype and rank the result takes.
        """
        alphas = self.alphas_cumprod
        final = alphas.new_tensor(self.final_alpha_cumprod)
        signal = _look_up(_rounded_root(alphas), _rounded_root(final), timesteps, like)
        noise = _look_up(_rounded_root(1 - alphas), _rounded_root(1 - final), timesteps, like)
        return signal.to(like.dtype), noise.to(like.dtype)

    def noising_scales(self, timesteps: Tensor | int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Look up the same with the roots taken in the latents' dtype, as noising has them."""
        alpha = self.alpha_cumprod(timesteps, like).to(like.dtype)
        return alpha.sqrt(), (1 - alpha).sqrt()

    def timestep_at(self, place: Place) -> Place:
        """Give the timestep at a place in the schedule: its own number."""
        return place

    def sampling_steps(self, num_steps: int) -> list[tuple[int, int]]:
        """List the DDIM steps from noise to clean as (timestep, next timestep); the last is < 0."""
        stride = self.num_train_timesteps // num_steps
        return [(timestep, timestep - stride) for timestep in self.timesteps_of(num_steps)]


def _look_up(values: Tensor, final: Tensor, timesteps: Tensor | int, like: Tensor) -> Tensor:
    """Take a value for each timestep, the final one for those below 0; shape (B or 1, 1, …, 1)."""
    steps = torch.as_tensor(timesteps, device=like.device).reshape(-1)
    found = values.to(like.device)[steps.clamp(min=0)]  # (B,)
    found = torch.where(steps >= 0, found, final.to(like.device))
    return found.reshape(-1, *[1] * (like.ndim - 1))


def _rounded_root(values: Tensor) -> Tensor:
    """Take square roots, rounded correctly to the dtype of the values."""
    return values.double().sqrt().to(values.dtype)


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor, schedule: Schedule) -> Tensor:
    """Noise clean latents: `z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps` (DDPM, Eq. 4)."""
    signal_scale, noise_scale = schedule.noising_scales(timesteps, latents)
    return signal_scale * latents + noise_scale * noise


def true_prediction(
    latents: Tensor, noise: Tensor, timesteps: Tensor, schedule: Schedule
) -> Tensor:
    """What a perfect model predicts for `z_t`: the noise, or a velocity.

    The velocity of a v-prediction base is `v = sqrt(abar_t) eps - sqrt(1 - abar_t) z_0`
    (arXiv:2202.00512, Appendix D), that of flow matching `eps - z_0`.
    """
    if schedule.prediction_type == "epsilon":
        return noise
    if schedule.prediction_type == "flow_prediction":
        return noise - latents
    signal_scale, noise_scale = schedule.noising_scales(timesteps, latents)
    return signal_scale * noise - noise_scale * latents


def ddim_step(
    sample: Tensor,
    prediction: Tensor,
    timesteps: Tensor | float,
    next_timesteps: Tensor | float,
    schedule: Schedule,
) -> Tensor:
    """Move latents from one timestep to another, deterministically (DDIM, Eq. 12 with eta = 0).

    With flow matching it is Euler's step along the velocity.

    Args:
        sample: `z_t` (B, C, F, h, w).
        prediction: The model's prediction for `z_t`, same shape.
        timesteps: t, where the sample is; one, or one a batch element.
        next_timesteps: Where it goes: lower denoises, higher inverts.
        schedule: The base's schedule.

    Returns:
        The latents at `next_timesteps`, same shape and dtype as `sample`.
    """
    prediction = prediction.to(sample.dtype)
    if schedule.prediction_type == "flow_prediction":
        return sample + prediction_scale(timesteps, next_timesteps, schedule, sample) * prediction
    signal_scale, noise_scale = schedule.scales(timesteps, sample)
    next_signal_scale, next_noise_scale = schedule.scales(next_timesteps, sample)
    if schedule.prediction_type == "epsilon":
        noise = prediction
        clean = (sample - noise_scale * noise) / signal_scale
    else:
        clean = signal_scale * sample - noise_scale * prediction
        noise = signal_scale * prediction + noise_scale * sample
    return next_signal_scale * clean + next_noise_scale * noise


def prediction_scale(
    timesteps: Tensor | float, next_timesteps: Tensor | float, schedule: Schedule, like: Tensor
) -> Tensor:
    """How far a DDIM step moves when the prediction changes by one; the step is linear in it.

    `sqrt(1 - abar_s) - sqrt(abar_s / abar_t) sqrt(1 - abar_t)` for a step from t to s, and that
    times `sqrt(abar_t)` for a v-prediction base; with flow matching the change of the noise level.

    Args:
        timesteps: t, one or one a batch element.
        next_timesteps: s.
        schedule: The base's schedule.
        like: Latents whose device, dtype and rank the result takes.

    Returns:
        (B or 1, 1, 1, 1, 1).
    """
    signal_scale, noise_scale = schedule.scales(timesteps, like)
    next_signal_scale, next_noise_scale = schedule.scales(next_timesteps, like)
    by_velocity = signal_scale * next_noise_scale - next_signal_scale * noise_scale
    return by_velocity if schedule.prediction_type != "epsilon" else by_velocity / signal_scale
