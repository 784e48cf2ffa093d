"""Solvers: how sampling gets from noise to clean latents, one prediction a step.

DDIM is the published one and our own; the faster ones, and those of flow matching, are diffusers'.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor

from motionmatcher.diffusion.flow_schedule import FlowSchedule
from motionmatcher.diffusion.schedules import NoiseSchedule, Predictor, Schedule, ddim_step
from motionmatcher.errors import UserError


class Solver(ABC):
    """The steps of one sampling run; solvers that remember earlier steps serve one run only.

    Attributes:
        timesteps: Where the model is evaluated, from noise to clean.
    """

    timesteps: list[float]

    @abstractmethod
    def step(self, latents: Tensor, prediction: Tensor, timestep: float) -> Tensor:
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
        self.later: dict[float, float] = dict(schedule.sampling_steps(num_steps))
        self.timesteps = list(self.later)

    def step(self, latents: Tensor, prediction: Tensor, timestep: float) -> Tensor:
        return ddim_step(latents, prediction, timestep, self.later[timestep], self.schedule)


class DiffusersSolver(Solver):
    """DPM-Solver++ (arXiv:2211.01095) or UniPC (arXiv:2302.04867), as a rule of second order.

    Of a flow schedule UniPC tells the model whole timesteps, as its scheduler does.
    """

    def __init__(self, name: str, schedule: Schedule, num_steps: int) -> None:
        from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

        classes = {"dpm++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}
        self.scheduler = classes[name].from_config(dict(schedule.scheduler_config))
        self._start(num_steps)

    def _start(self, num_steps: int) -> None:
        self.scheduler.set_timesteps(num_steps)
        self.scheduler.set_begin_index(0)
        self.timesteps = self.scheduler.timesteps.tolist()

    def step(self, latents: Tensor, prediction: Tensor, timestep: float) -> Tensor:
        stepped: Tensor = self.scheduler.step(prediction, timestep, latents).prev_sample
        return stepped


class EulerSolver(DiffusersSolver):
    """Euler's steps of flow matching (arXiv:2403.03206), between its scheduler's noise levels."""

    def __init__(self, schedule: FlowSchedule, num_steps: int) -> None:
        from diffusers import FlowMatchEulerDiscreteScheduler

        self.scheduler = FlowMatchEulerDiscreteScheduler(
            num_train_timesteps=schedule.num_train_timesteps, shift=schedule.shift
        )
        self._start(num_steps)


def make_solver(name: str, schedule: Schedule, num_steps: int) -> Solver:
    """Make the solver of one sampling run.

    Args:
        name: One of `solver_names(schedule)`.
        schedule: The base's schedule.
        num_steps: Evaluations of the model.

    Raises:
        UserError: The solver is of another kind of schedule.
    """
    check_solver(name, schedule)
    if isinstance(schedule, FlowSchedule) and name == "euler":
        return EulerSolver(schedule, num_steps)
    if isinstance(schedule, NoiseSchedule) and name == "ddim":
        return DdimSolver(schedule, num_steps)
    return DiffusersSolver(name, schedule, num_steps)


def check_solver(name: str, schedule: Schedule) -> None:
    """Refuse a solver that does not go with a schedule.

    Raises:
        UserError: Names those that do.
    """
    names = solver_names(schedule)
    if name not in names:
        raise UserError(
            f"scheduler {name} does not go with this base's schedule: choose of {', '.join(names)}."
        )


def solver_names(schedule: Schedule) -> tuple[str, ...]:
    """List the solvers that go with a schedule."""
    first_order = "euler" if schedule.prediction_type == "flow_prediction" else "ddim"
    return first_order, "dpm++", "unipc"


def solve(
    latents: Tensor, predictor: Predictor, timesteps: Iterable[float], solver: Solver
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
