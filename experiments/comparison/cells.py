"""The cells of the comparison: what is trained, on what, and which videos are sampled of it."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.comparison.config import ComparisonConfig
from experiments.comparison.methods import BASE, FEATURE_MATCHING, TRAINED
from experiments.comparison.statistics import Choice
from motionmatcher.config.loading import load_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from testbed.truth import read_truth, truth_file

# A constant learning rate, so that a run's checkpoint N is what a run of N steps would end with.
_CONSTANT_RATES = ("constant", "constant_with_warmup")
# Of the folders that hold a training while it runs; one left behind by a kill is removed.
SCRATCH_PREFIX = ".training-"


@dataclass(frozen=True)
class Cell:
    """One training, or the base, and the videos sampled of it. The unit of work and of resuming.

    Attributes:
        stage: "tuning", "report" or "ablation".
        method: `BASE`, or one of `TRAINED`.
        motion: Name of the reference clip.
        seed: Of the training; the videos' noise depends on it too, alike for all methods.
        variant: Settings of the trainer beside the method's own, as `key=value`.
        steps: Training steps after which videos are sampled; (0,) for the base.
        noise_priors: Each sampled with the same fresh noise.
        kept_step: The step whose videos are kept to look at; None keeps none.
    """

    stage: str
    method: str
    motion: str
    seed: int
    variant: tuple[str, ...]
    steps: tuple[int, ...]
    noise_priors: tuple[float, ...]
    kept_step: int | None = None

    @property
    def label(self) -> str:
        """Says roughly which cell it is, for file names."""
        return f"{self.stage}-{self.method}-{self.motion}-{self.seed}"

    @property
    def description(self) -> str:
        """Says which cell it is, for people."""
        return f"{self.label} ({', '.join(self.variant)})" if self.variant else self.label


@dataclass(frozen=True)
class CellJob:
    """A cell with all that a worker needs to make it.

    Attributes:
        cell: What it is.
        settings: The trainer's settings.
        prompts: Texts.
        samples: Videos per step, noise prior and prompt.
        batch_size: Videos sampled at a time.
        identity: What the result depends on, of `identity.identify`.
        code_version: What git calls the program's state; None outside a repository.
        result: The file to write.
    """

    cell: Cell
    settings: TrainSettings
    prompts: tuple[str, ...]
    samples: int
    batch_size: int
    identity: dict[str, Any]
    code_version: str | None
    result: Path

    def is_done(self) -> bool:
        """Whether the result is there."""
        return self.result.is_file()


def tuning_cells(config: ComparisonConfig) -> list[Cell]:
    """List every method at every learning rate on the tuning motions."""
    return [
        Cell(
            "tuning",
            method,
            motion,
            seed,
            (f"learning_rate={rate:g}",),
            tuple(config.steps),
            tuple(config.noise_priors),
        )
        for method in config.methods
        for rate in config.tuning.learning_rates
        for motion in config.tuning.motions
        for seed in range(config.tuning.seeds)
    ]


def report_cells(config: ComparisonConfig, choices: Mapping[str, Choice]) -> list[Cell]:
    """List the base and every method, as the tuning chose it, on the other motions."""
    cells = []
    for motion in config.report.motions:
        for seed in range(config.report.seeds):
            kept = seed == 0
            priors = tuple(config.noise_priors)
            cells.append(Cell("report", BASE, motion, seed, (), (0,), priors, 0 if kept else None))
            cells += [
                Cell(
                    "report",
                    method,
                    motion,
                    seed,
                    (f"learning_rate={choices[method].learning_rate:g}",),
                    tuple(config.steps),
                    priors,
                    choices[method].steps if kept else None,
                )
                for method in config.methods
            ]
    return cells


def ablation_cells(config: ComparisonConfig, choice: Choice) -> list[Cell]:
    """List the base, feature matching as the tuning chose it, and its variants.

    Args:
        config: Names the variants.
        choice: What the tuning chose for feature matching.
    """
    priors = tuple(config.noise_priors)
    more_priors = tuple(config.ablation.noise_priors) or priors
    chosen = (f"learning_rate={choice.learning_rate:g}",)
    variants: list[tuple[tuple[str, ...], tuple[float, ...]]] = [(chosen, more_priors)]
    variants += [((*chosen, *variant), priors) for variant in config.ablation.variants]
    cells = []
    for motion in config.tuning.motions:
        for seed in range(config.ablation.seeds):
            cells.append(Cell("ablation", BASE, motion, seed, (), (0,), more_priors))
            cells += [
                Cell("ablation", FEATURE_MATCHING, motion, seed, variant, (choice.steps,), sampled)
                for variant, sampled in variants
            ]
    return cells


def placeholder_choices(config: ComparisonConfig) -> dict[str, Choice]:
    """Any choice, to count the cells that follow a tuning not yet made."""
    return {
        method: Choice(config.tuning.learning_rates[0], config.steps[-1], math.nan)
        for method in TRAINED
    }


def num_videos(config: ComparisonConfig, cell: Cell) -> int:
    """Count the videos of a cell."""
    return len(cell.steps) * len(cell.noise_priors) * len(config.prompts) * config.samples


def cell_settings(config: ComparisonConfig, base_folder: str | None, cell: Cell) -> TrainSettings:
    """Put together the trainer's settings of a cell.

    Args:
        config: Names the shared settings and the reference clips.
        base_folder: The base, instead of the shared settings' own; None for that.
        cell: What is trained.

    Raises:
        UserError: A setting is unknown or wrong, or does not fit the comparison.
    """
    truth = read_truth(config.clip(cell.motion))
    overrides = (
        *([f"pretrained_model_path={base_folder}"] if base_folder else []),
        *TRAINED.get(cell.method, ()),
        *cell.variant,
    )
    settings = _shared_settings(config.train_config, overrides)
    if settings.lr_scheduler not in _CONSTANT_RATES:
        raise UserError(
            f"{config.train_config}: lr_scheduler: expected one of {', '.join(_CONSTANT_RATES)}, for "
            f"videos are sampled in the middle of a run; found {settings.lr_scheduler}"
        )
    for key, unset in (("rescale_schedule", "false"), ("flow_shift", "null")):
        if getattr(settings, key):
            raise UserError(
                f"{config.train_config}: {key}: the comparison samples on the base's own schedule; "
                f"expected {unset}"
            )
    data = settings.train_data
    if data.n_sample_frames != len(truth.path) or data.frame_step != 1 or data.sample_start_idx:
        raise UserError(
            f"{config.train_config}: the ground truth of {cell.motion} is of {len(truth.path)} frames "
            "from the first; expected n_sample_frames to be that and each frame to be read"
        )
    clip = config.clip(cell.motion)
    return replace(
        settings,
        train_data=replace(data, single_video_path=str(clip), single_video_prompt=truth.prompt),
        validation_data=replace(
            settings.validation_data,
            sample_preview=False,
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
