"""What is compared and how much of it: `experiments/comparison.yaml`, typed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.comparison.methods import FEATURE_MATCHING, TRAINED
from motionmatcher.config.bounds import MAX_REPEATS, MAX_TIMESTEPS, MAX_UPDATES
from motionmatcher.config.declaration import limits, section, setting
from motionmatcher.config.loading import read_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.paths import find_path
from testbed.captions import appearance_caption
from testbed.renderer import BACKGROUND_COLORS, BACKGROUND_STYLES, OBJECT_COLORS, SHAPES

MAX_SEEDS = 1000
MAX_SECONDS = 86_400


@dataclass(frozen=True)
class PromptConfig:
    """What a video shall show: names of `testbed.renderer`."""

    color: str = setting(..., "of the object", choices=tuple(OBJECT_COLORS))
    shape: str = setting(..., "of the object", choices=tuple(SHAPES))
    background_style: str = setting(..., "its pattern", choices=tuple(BACKGROUND_STYLES))
    background_color: str = setting(..., "its colour", choices=tuple(BACKGROUND_COLORS))

    @property
    def text(self) -> str:
        """The prompt, as the base's captions say it."""
        return appearance_caption(
            self.color, self.shape, self.background_style, self.background_color
        )


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """The grid, beside `steps`, and what it is searched on."""

    motions: list[str] = setting(..., "reference clips that their JSON marks as for tuning")
    seeds: int = setting(..., "trainings per motion and learning rate", 1, MAX_SEEDS)
    learning_rates: list[float] = setting(
        ..., "tried for every method alike", *limits(TrainSettings, "learning_rate")
    )
    grid_reason: str = setting(..., "why this grid, in a sentence; RESULTS.md repeats it")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What is measured once, with the settings chosen in the tuning."""

    motions: list[str] = setting(..., "reference clips that their JSON marks as not for tuning")
    seeds: int = setting(..., "trainings per motion and method", 1, MAX_SEEDS)


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """Changes of feature matching's settings, on the tuning motions."""

    seeds: int = setting(..., "trainings per motion and variant", 1, MAX_SEEDS)
    variants: list[list[str]] = setting(..., "settings of the trainer each, as key=value")
    noise_priors: list[float] = setting(
        ..., "tried with the unchanged settings and with the base", 0, 1
    )


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """What one thread needs, for the estimate of `--dry-run` until something is measured."""

    seconds_per_step: float = setting(..., "of training", 0, MAX_SECONDS)
    seconds_per_video: float = setting(..., "of sampling, decoding and measuring", 0, MAX_SECONDS)


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig:
    """Everything `python -m experiments.compare` reads."""

    train_config: str = setting(..., "the trainer's settings that all methods share")
    reference_dir: str = setting(..., "folder of the reference clips and their ground truth")
    cells_dir: str = setting(..., "gets one JSON per cell; what is there is not made again")
    results_dir: str = setting(..., "gets RESULTS.md and the folder results with CSV and pictures")
    methods: list[str] = setting(..., "trained methods", choices=tuple(TRAINED))
    steps: list[int] = setting(
        ...,
        "training steps after which videos are sampled; the tuning chooses among them",
        *(1, MAX_UPDATES),
    )
    noise_priors: list[float] = setting(
        ..., "shares of the reference's inversion noise; every method is sampled with each", 0, 1
    )
    prompts: list[PromptConfig] = setting(..., "what the videos shall show")
    samples: int = setting(..., "videos per training, step, noise prior and prompt", 1, MAX_REPEATS)
    num_inference_steps: int = setting(
        ..., "DDIM steps of sampling and inversion", 1, MAX_TIMESTEPS
    )
    batch_size: int = setting(..., "videos sampled at a time", 1, MAX_REPEATS)
    tuning: TuningConfig = section(TuningConfig)
    report: ReportConfig = section(ReportConfig)
    ablation: AblationConfig = section(AblationConfig)
    cost: CostConfig = section(CostConfig)

    def clip(self, motion: str) -> Path:
        """The reference clip of a motion; its ground truth lies beside it."""
        return Path(find_path(self.reference_dir)) / f"{motion}.mp4"


def load_comparison(*paths: Path) -> ComparisonConfig:
    """Read the settings.

    Args:
        paths: YAML files; a later one changes some keys of those before.

    Raises:
        UserError: A file is missing, or a key is unknown, missing, of the wrong type or out of range.
    """
    config = read_settings(ComparisonConfig, *paths)
    _check(config, str(paths[-1]))
    return config


def _check(config: ComparisonConfig, place: str) -> None:
    if FEATURE_MATCHING not in config.methods:
        raise UserError(
            f"{place}: methods must have {FEATURE_MATCHING} among them: all others are compared with it."
        )
    lists: dict[str, Sequence[object]] = {
        "methods": config.methods,
        "prompts": config.prompts,
        "tuning.motions": config.tuning.motions,
        "report.motions": config.report.motions,
    }
    ascending: dict[str, Sequence[float]] = {
        "steps": config.steps,
        "noise_priors": config.noise_priors,
        "tuning.learning_rates": config.tuning.learning_rates,
    }
    for key, entries in {**lists, **ascending}.items():
        if not entries:
            raise UserError(f"{place}: {key} is empty: give one or more.")
    for key, numbers in ascending.items():
        if sorted(set(numbers)) != list(numbers):
            raise UserError(f"{place}: {key} must ascend, not {numbers}.")
    if config.noise_priors[0] != 0:
        raise UserError(f"{place}: noise_priors must begin with 0, which is sampling without one.")
