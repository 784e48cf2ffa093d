"""The cells of the comparison: what is trained, on what, and which videos are sampled of it."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from experiments.compare.config import ComparisonConfig, PromptConfig
from experiments.compare.methods import BASE, FEATURE_MATCHING, FULL, GATED, TRAINED, UNSAID, held
from motionmatcher.clips.frame_choice import FrameChoice
from motionmatcher.config.loading import load_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from testbed.captions import shape_caption
from testbed.truth import Truth, read_truth, truth_file

# A constant learning rate, so that a run's checkpoint N is what a run of N steps would end with.
_CONSTANT_RATES = ("constant", "constant_with_warmup")
# Of the folders that hold a training while it runs; one left behind by a kill is removed.
SCRATCH_PREFIX = ".training-"


@dataclass(frozen=True)
class Cell:
    """One training, or the base, and the videos sampled of it. The unit of work and of resuming.

    Attributes:
        method: `BASE`, or one of `TRAINED`.
        motion: Name of the reference clip.
        seed: Of the training; the videos' noise depends on it too, alike for all methods.
        samplings: Training steps (0 for the base) and noise prior, one pair for each set of videos.
        regime: Of `REGIMES`; empty for the base, and where the settings' own `min_timestep` stays.
        caption: Of `CAPTIONS`; empty for the base.
        changes: What the decisions change in the shared settings, as `key=value`.
        learning_rate: The trainer's; None for the shared settings' own.
        kept_step: The step whose videos without noise prior are kept to look at; None keeps none.
    """

    method: str
    motion: str
    seed: int
    samplings: tuple[tuple[int, float], ...]
    regime: str = ""
    caption: str = ""
    changes: tuple[str, ...] = ()
    learning_rate: float | None = None
    kept_step: int | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """Training steps after which videos are sampled, ascending."""
        return tuple(sorted({step for step, _ in self.samplings}))

    @property
    def label(self) -> str:
        """Says roughly which cell it is, for people and file names."""
        parts = [self.method, self.regime, self.caption, self.motion, f"{self.seed}"]
        return "-".join(part for part in parts if part)


@dataclass(frozen=True)
class CellJob:
    """A cell with all that a worker needs to make it."""

    cell: Cell
    settings: TrainSettings  # of the trainer
    prompts: tuple[PromptConfig, ...]
    samples: int  # videos per step, noise prior and prompt
    batch_size: int
    identity: dict[str, Any]  # what the result depends on
    code_version: str | None
    result: Path  # the file to write

    def is_done(self) -> bool:
        """Whether the result is there."""
        return self.result.is_file()


@dataclass(frozen=True)
class Choice:
    """What the tuning chose for a method in a regime."""

    learning_rate: float
    steps: int


Choices = Mapping[tuple[str, str], Choice]  # method, regime -> choice


def choice_of(choices: Choices, method: str, regime: str) -> Choice:
    """What the tuning chose for a method, or else for feature matching, of which it is a part."""
    return choices.get((method, regime), choices[FEATURE_MATCHING, regime])


def decision_cells(
    config: ComparisonConfig, decided: Sequence[str], options: Sequence[Sequence[str]]
) -> list[Cell]:
    """List a decision's options on the tuning motions, each with what was decided before."""
    decide = config.decide
    return [
        Cell(FEATURE_MATCHING, motion, seed, sampling, "", decide.caption, (*decided, *option))
        for sampling in [((decide.steps, 0.0),)]
        for option, motion, seed in product(options, config.tuning.motions, range(decide.seeds))
    ]


def base_cells(config: ComparisonConfig, motions: Sequence[str], seeds: int) -> list[Cell]:
    """List the base with each noise prior."""
    samplings = tuple((0, noise_prior) for noise_prior in config.noise_priors)
    return [
        Cell(BASE, motion, seed, samplings, kept_step=None if seed else 0)
        for motion, seed in product(motions, range(seeds))
    ]


def tuning_cells(config: ComparisonConfig, decided: Sequence[str]) -> list[Cell]:
    """List every method at each learning rate of its grid, with full captions and no noise prior."""
    return [
        Cell(method, motion, seed, samplings, regime, FULL, held(method, decided), rate)
        for regime in config.regimes
        for method, grids in config.grids(regime).items()
        for grid in grids
        for samplings in [tuple((steps, 0.0) for steps in grid.steps)]
        for rate in grid.learning_rates
        for motion in config.tuning.motions
        for seed in range(config.tuning.seeds)
    ]


def report_cells(config: ComparisonConfig, decided: Sequence[str], choices: Choices) -> list[Cell]:
    """List every method, as the tuning chose it, under each condition."""
    report = config.report
    cells = []
    for motion, seed, condition in product(report.motions, range(report.seeds), report.conditions):
        for method in config.methods(condition, seed):
            choice = choice_of(choices, method, condition.regime)
            samplings = {(step, 0.0) for step in report.curve_steps}
            samplings |= {(choice.steps, noise_prior) for noise_prior in config.noise_priors}
            trained = (condition.regime, condition.caption, held(method, decided))
            kept = choice.steps if seed == 0 else None
            what = (method, motion, seed, tuple(sorted(samplings)))
            cells.append(Cell(*what, *trained, choice.learning_rate, kept))
    return cells


def any_choices(config: ComparisonConfig) -> Choices:
    """The middle of each first grid, to count the cells that follow a tuning not yet made."""
    found = {}
    for regime in config.regimes:
        for method, grids in config.grids(regime).items():
            rates, steps = grids[0].learning_rates, grids[0].steps
            found[method, regime] = Choice(rates[len(rates) // 2], steps[len(steps) // 2])
    return found


def cell_settings(config: ComparisonConfig, base_folder: str | None, cell: Cell) -> TrainSettings:
    """Put together the trainer's settings of a cell, on a base or else the shared settings' own.

    Raises:
        UserError: A setting is unknown or wrong, or does not fit the comparison.
    """
    truth = read_truth(config.clip(cell.motion))
    overrides = (
        *([f"pretrained_model_path={base_folder}"] if base_folder else []),
        *cell.changes,
        *TRAINED.get(cell.method, ()),
        *([f"min_timestep={config.gate if cell.regime == GATED else 1}"] if cell.regime else []),
        *([f"learning_rate={cell.learning_rate:g}"] if cell.learning_rate is not None else []),
    )
    settings = _shared_settings(config.train_config, overrides)
    _check_settings(config, settings, cell, truth)
    data = settings.train_data
    caption = truth.prompt
    if cell.caption == UNSAID:
        caption = shape_caption(truth.appearance["shape"])
    return replace(
        settings,
        train_data=replace(
            data, single_video_path=str(config.clip(cell.motion)), single_video_prompt=caption
        ),
        validation_data=replace(
            settings.validation_data,
            sample_preview=False,
            prompt=[],
            noise_prior=0.0,  # as `samplings` have it
            num_inference_steps=config.num_inference_steps,
            num_frames=data.n_sample_frames,
            width=data.width,
            height=data.height,
        ),
        seed=cell.seed,
        max_train_steps=max(*cell.steps, 1),
        checkpointing_steps=max(math.gcd(*cell.steps), 1),
        checkpoints_total_limit=None,  # videos are sampled of them all
    )


def _check_settings(
    config: ComparisonConfig, settings: TrainSettings, cell: Cell, truth: Truth
) -> None:
    if settings.lr_scheduler not in _CONSTANT_RATES:
        raise UserError(
            f"{config.train_config}: lr_scheduler: expected one of {', '.join(_CONSTANT_RATES)}, for "
            f"videos are sampled in the middle of a run; found {settings.lr_scheduler}"
        )
    if settings.rescale_schedule:
        raise UserError(
            f"{config.train_config}: rescale_schedule: the comparison samples on the base's own schedule; "
            "expected false"
        )
    data = settings.train_data
    from_the_first = FrameChoice(grid_fps=data.grid_fps)
    if data.n_sample_frames != len(truth.path) or FrameChoice.of(data) != from_the_first:
        raise UserError(
            f"{config.train_config}: the ground truth of {cell.motion} is of {len(truth.path)} frames "
            "from the first; expected n_sample_frames to be that and each frame to be read"
        )


@functools.cache
def _shared_settings(train_config: str, overrides: tuple[str, ...]) -> TrainSettings:
    """Read the trainer's settings, but for the clip, which differs from cell to cell."""
    no_clip = ("train_data.single_video_path=clip", "train_data.single_video_prompt=prompt")
    return load_settings(train_config, (*no_clip, *overrides))


def check_motions(config: ComparisonConfig) -> None:
    """Check that tuning and report keep their motions apart, as the ground truth says.

    Raises:
        UserError: Names the motion on the wrong side.
    """
    for part, motions, tuning in (
        ("tuning", config.tuning.motions, True),
        ("report", config.report.motions, False),
    ):
        for motion in motions:
            if read_truth(config.clip(motion)).tuning != tuning:
                raise UserError(
                    f"{part}.motions: {motion} is {'not ' if tuning else ''}for tuning, says "
                    f"{truth_file(config.clip(motion))}"
                )
