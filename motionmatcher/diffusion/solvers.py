"""Solvers: how sampling gets from noise to clean latents, one prediction a step.

DDIM is the published one and our own; the faster ones are diffusers'.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor

from motionmatcher.diffusion.schedules import NoiseSchedule, Predictor, ddim_step


class Solver(ABC):
    """The steps of one sampling run; solvers that remember earlier steps serve one run only.

    Attributes:
        timesteps: Where the model is evaluated, from noise to clean.
    """

    timesteps: list[int]

    @abstractmethod
    def step(self, latents: Tensor, prediction: Tensor, timestep: int) -> Tensor:
        """Move on from a timestep.

        Args:
            latents: At the timestep (B, C, F, h, w).
            prediction: The model's prediction for them, same shape.
            timestep: The next one of `timesteps`.
        """


class DdimSolver(Solver):
    """DDIM without noise (arXiv:2010.02502, Eq. 12 with eta = 0)."""

    def __init__(self, schedule: NoiseSchedule, num_steps: int) -> None:
        self.schedule = schedule
        self.later = dict(schedule.sampling_steps(num_steps))
        self.timesteps = list(self.later)

    def step(self, latents: Tensor, prediction: Tensor, timestep: int) -> Tensor:
        return ddim_step(latents, prediction, timestep, self.later[timestep], self.schedule)


class DiffusersSolver(Solver):
    """DPM-Solver++ (arXiv:2211.01095) or UniPC (arXiv:2302.04867), both of second order."""

    def __init__(self, name: str, schedule: NoiseSchedule, num_steps: int) -> None:
        from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

        classes = {"dpm++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}
        self.scheduler = classes[name].from_config(dict(schedule.scheduler_config))
        self.scheduler.set_timesteps(num_steps)
        self.timesteps = self.scheduler.timesteps.tolist()

    def step(self, latents: Tensor, prediction: Tensor, timestep: int) -> Tensor:
        stepped: Tensor = self.scheduler.step(prediction, timestep, latents).prev_sample
        return stepped


def make_solver(name: str, schedule: NoiseSchedule, num_steps: int) -> Solver:
    """Make the solver of one sampling run.

    Args:
        name: One of `settings.SCHEDULERS`.
        schedule: The base's noise schedule.
        num_steps: Evaluations of the model.
    """
    if name == "ddim":
        return DdimSolver(schedule, num_steps)
    return DiffusersSolver(name, schedule, num_steps)


def solve(
    latents: Tensor, predictor: Predictor, timesteps: Iterable[int], solver: Solver
) -> Tensor:
    """Walk over timesteps of a solver.

    Args:
        latents: At the first timestep (B, C, F, h, w); noise at the start of a run.
        predictor: The model, guidance and all.
        timesteps: The solver's, or the next few of them, perhaps wrapped in a progress bar.
        solver: Makes the steps.

    Returns:
        Latents after the last of these steps, same shape.
    """
    for timestep in timesteps:
        latents = solver.step(latents, predictor(latents, timestep), timestep)
    return latents
