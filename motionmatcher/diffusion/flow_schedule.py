"""Flow matching: latents move on straight lines from data to noise (arXiv:2209.03003, 2210.02747).

`z_s = (1 - s) z_0 + s eps` at noise level s in 0 … 1, and the model predicts the velocity
`eps - z_0`. It is told the timestep `t = T s`, a real number. Sampling and training choose *places*
u in 0 … 1 and shift them towards noise, `s = a u / (1 + (a - 1) u)` with the base's shift a: a place
in the schedule keeps its meaning whatever the shift, half of it being half of the sampling steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from motionmatcher.config.bounds import MAX_SHIFT, MAX_TIMESTEPS
from motionmatcher.diffusion.schedules import Place
from motionmatcher.errors import UserError

if TYPE_CHECKING:
    from motionmatcher.bases.config_file import BaseConfig

EULER = "FlowMatchEulerDiscreteScheduler"
# What the two schedulers can do and `FlowSchedule` cannot: other spacings, and noise on the way.
_UNSUPPORTED = (
    "use_dynamic_shifting",
    "shift_terminal",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "invert_sigmas",
    "stochastic_sampling",
)


@dataclass(frozen=True)
class FlowSchedule:
    """The schedule of a base that was trained with flow matching; a `schedules.Schedule`.

    Attributes:
        num_train_timesteps: T, the timestep of pure noise.
        shift: a; 1 spaces noise levels evenly.
        own_solver: The solver that the base comes with, "euler" or "unipc".
        scheduler_config: Settings of diffusers' multistep schedulers on this schedule.
        noise_levels_of: Gives the noise levels that the base's own solver visits, from noise to clean
            and with the last, for a number of steps.
    """

    num_train_timesteps: int
    shift: float
    own_solver: str
    scheduler_config: Mapping[str, Any]
    noise_levels_of: Callable[[int], list[float]]
    prediction_type: ClassVar[str] = "flow_prediction"
    # One repetition divides the error of an inversion by about ten; without it a round trip is 5 % off.
    inversion_iterations: ClassVar[int] = 1

    @classmethod
    def check_config(cls, config: "BaseConfig") -> None:
        """Check `scheduler/scheduler_config.json`; the defaults are diffusers' own.

        Raises:
            UserError: Names the file and the key that gives no flow schedule.
        """
        euler = config.content["_class_name"] == EULER
        config.whole("num_train_timesteps", 2, MAX_TIMESTEPS, default=1000)
        config.number("shift" if euler else "flow_shift", 1e-3, MAX_SHIFT, default=1.0)
        if not euler:
            config.choice("prediction_type", (cls.prediction_type,), default="epsilon")
            config.whole("solver_order", 1, 3, default=2)
        for key in _UNSUPPORTED:
            if config.content.get(key):
                config.refuse(key, "be false, for it is not supported")

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], rescale: bool = False, shift: float | None = None
    ) -> "FlowSchedule":
        """Build the schedule of a `scheduler_config.json` that `check_config` let pass.

        Args:
            config: Settings of diffusers' `FlowMatchEulerDiscreteScheduler`, or of its
                `UniPCMultistepScheduler` with flow sigmas.
            rescale: Has to be false: a flow ends in pure noise anyway.
            shift: Instead of the base's own.

        Raises:
            UserError: It shall be rescaled.
        """
        from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

        if rescale:
            raise UserError(
                "rescale_schedule is for noise schedules, and this base was trained by flow matching: set "
                "it to false."
            )
        scheduler: Any
        if config["_class_name"] == EULER:
            changes = {} if shift is None else {"shift": shift}
            scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(config), **changes)
            used_shift = scheduler.config.shift
            multistep = {
                "num_train_timesteps": scheduler.config.num_train_timesteps,
                "prediction_type": cls.prediction_type,
                "use_flow_sigmas": True,
                "flow_shift": used_shift,
            }
        else:
            changes = {} if shift is None else {"flow_shift": shift}
            scheduler = UniPCMultistepScheduler.from_config(dict(config), **changes)
            used_shift = scheduler.config.flow_shift
            multistep = scheduler.config

        def noise_levels_of(num_steps: int) -> list[float]:
            scheduler.set_timesteps(num_steps)
            levels: list[float] = scheduler.sigmas.tolist()
            return levels

        return cls(
            num_train_timesteps=scheduler.config.num_train_timesteps,
            shift=used_shift,
            own_solver="euler" if config["_class_name"] == EULER else "unipc",
            scheduler_config=multistep,
            noise_levels_of=noise_levels_of,
        )

    def timestep_at(self, place: Place) -> Place:
        """Give the timestep at a place in the schedule, 0 … T, where T is pure noise."""
        share = place / self.num_train_timesteps
        return self.num_train_timesteps * self.shift * share / (1 + (self.shift - 1) * share)

    def scales(self, timesteps: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """Give the scale of the signal, `1 - s`, and of the noise, `s`.

        Args:
            timesteps: One, or one a batch element (B,).
            like: Latents whose device, dtype and rank the result takes.

        Returns:
            Each (B or 1, 1, …, 1).
        """
        dtype = torch.promote_types(like.dtype, torch.float32)
        level = torch.as_tensor(timesteps, dtype=dtype, device=like.device).reshape(-1)
        level = (level / self.num_train_timesteps).reshape(-1, *[1] * (like.ndim - 1))
        return (1 - level).to(like.dtype), level.to(like.dtype)

    def noising_scales(self, timesteps: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """The same as `scales`."""
        return self.scales(timesteps, like)

    @property
    def max_sampling_steps(self) -> int:
        """The most steps that it can be walked in."""
        return self.num_train_timesteps

    def sampling_steps(self, num_steps: int) -> list[tuple[float, float]]:
        """List the steps from noise to clean as (timestep, next timestep); the last is clean."""
        timesteps = [self.num_train_timesteps * level for level in self.noise_levels_of(num_steps)]
        return list(pairwise(timesteps))
