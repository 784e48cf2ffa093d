"""What is compared and how much of it: a YAML file beside this one, typed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.compare.methods import CAPTIONS, EACH_MAP, FEATURE_MATCHING, REGIMES, TRAINED
from motionmatcher.config.bounds import MAX_REPEATS, MAX_TIMESTEPS, MAX_UPDATES
from motionmatcher.config.declaration import limits, section, setting
from motionmatcher.config.loading import read_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.paths import find_path
from testbed.captions import appearance_caption
from testbed.renderer import BACKGROUND_COLORS, BACKGROUND_STYLES, OBJECT_COLORS, SHAPES

MAX_SEEDS = 1000


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
class DecisionConfig:
    """One choice among settings of feature matching."""

    name: str = setting(..., "of the decision, in a word")
    options: list[list[str]] = setting(..., "settings of the trainer each, as key=value")


@dataclass(frozen=True, kw_only=True)
class DecisionsConfig:
    """What is decided before the methods meet, one decision after the other, on the tuning motions."""

    seeds: int = setting(..., "trainings per motion and option", 1, MAX_SEEDS)
    steps: int = setting(..., "training steps of each", 1, MAX_UPDATES)
    caption: str = setting(..., "what the training's caption says of looks", choices=CAPTIONS)
    decisions: list[DecisionConfig] = setting(..., "in their order; there may be none")


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """Learning rates and steps among which the tuning chooses for some methods."""

    methods: list[str] = setting(..., "which meet in the regime", choices=tuple(TRAINED))
    regime: str = setting(..., "in which the grid is theirs", choices=REGIMES)
    learning_rates: list[float] = setting(
        ..., "the trainer's, ascending", *limits(TrainSettings, "learning_rate")
    )
    steps: list[int] = setting(..., "of training, ascending", 1, MAX_UPDATES)


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """How each method gets its learning rate and number of steps."""

    motions: list[str] = setting(..., "reference clips that their JSON marks as for tuning")
    seeds: int = setting(..., "trainings per motion and learning rate", 1, MAX_SEEDS)
    grids: list[GridConfig] = setting(..., "some for each regime and each method that meets in it")
    inside: bool = setting(..., "refuse a choice at its grid's edge: a better one may lie beyond")


@dataclass(frozen=True)
class ConditionConfig:
    """Under which conditions the methods meet."""

    regime: str = setting(
        ..., "gated: LoRA trained and on at high noise only; open: at all noise", choices=REGIMES
    )
    caption: str = setting(..., "of the training: full, or with the looks unsaid", choices=CAPTIONS)
    each_map: bool = setting(False, "one training of each kind of map alone, tuned as both are")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What is measured once, with what the tuning chose."""

    motions: list[str] = setting(..., "reference clips that their JSON marks as not for tuning")
    seeds: int = setting(..., "trainings per motion, method and condition", 1, MAX_SEEDS)
    conditions: list[ConditionConfig] = setting(..., "all methods of its regime meet under each")
    curve_steps: list[int] = setting(..., "of the curves, beside those chosen", 1, MAX_UPDATES)


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig:
    """Everything `python -m experiments.compare` reads."""

    train_config: str = setting(..., "the trainer's settings that all methods share")
    reference_dir: str = setting(..., "folder of the reference clips and their ground truth")
    cells_dir: str = setting(..., "gets one JSON per cell; what is there is not made again")
    results_dir: str = setting(..., "gets RESULTS.md, cells.csv and pictures")
    gate: int = setting(..., "min_timestep of the gated regime; open is 1", 1, MAX_TIMESTEPS)
    noise_priors: list[float] = setting(
        ..., "shares of the reference's inversion noise; the report samples with each", 0, 1
    )
    prompts: list[PromptConfig] = setting(..., "what the videos shall show")
    samples: int = setting(..., "videos per training, step, noise prior and prompt", 1, MAX_REPEATS)
    num_inference_steps: int = setting(..., "of sampling and inversion", 1, MAX_TIMESTEPS)
    batch_size: int = setting(..., "videos sampled at a time", 1, MAX_REPEATS)
    decide: DecisionsConfig = section(DecisionsConfig)
    tuning: TuningConfig = section(TuningConfig)
    report: ReportConfig = section(ReportConfig)

    def clip(self, motion: str) -> Path:
        """The reference clip of a motion; its ground truth lies beside it."""
        return Path(find_path(self.reference_dir)) / f"{motion}.mp4"

    @property
    def regimes(self) -> list[str]:
        """Those of the report's conditions."""
        return list(dict.fromkeys(condition.regime for condition in self.report.conditions))

    def grids(self, regime: str) -> dict[str, list[GridConfig]]:
        """Give the methods tuned in a regime, each with its grids; further ones extend the first."""
        found: dict[str, list[GridConfig]] = {}
        for grid in self.tuning.grids:
            if grid.regime == regime:
                for method in grid.methods:
                    found.setdefault(method, []).append(grid)
        return found

    def methods(self, condition: ConditionConfig, seed: int) -> list[str]:
        """List the methods that meet under a condition, in trainings of a seed."""
        more = EACH_MAP if condition.each_map and seed == 0 else ()
        return list(dict.fromkeys([*self.grids(condition.regime), *more]))


def load_comparison(*paths: Path) -> ComparisonConfig:
    """Read the settings from YAML files; a later one changes some keys of those before.

    Raises:
        UserError: A file is missing, or a key is unknown, missing, of the wrong type or out of range.
    """
    config = read_settings(ComparisonConfig, *paths)
    _check(config, str(paths[-1]))
    return config


def _check(config: ComparisonConfig, place: str) -> None:
    lists: dict[str, Sequence[object]] = {
        "prompts": config.prompts,
        "tuning.motions": config.tuning.motions,
        "report.motions": config.report.motions,
        "report.conditions": config.report.conditions,
        **{f"decide: {each.name}: options": each.options for each in config.decide.decisions},
    }
    ascending: dict[str, Sequence[float]] = {"noise_priors": config.noise_priors}
    for number, grid in enumerate(config.tuning.grids):
        ascending[f"tuning.grids[{number}].learning_rates"] = grid.learning_rates
        ascending[f"tuning.grids[{number}].steps"] = grid.steps
    for key, entries in {**lists, **ascending}.items():
        if not entries:
            raise UserError(f"{place}: {key} is empty: give one or more.")
    for key, numbers in ascending.items():
        if sorted(set(numbers)) != list(numbers):
            raise UserError(f"{place}: {key} must ascend, not {numbers}.")
    if config.noise_priors[0] != 0:
        raise UserError(f"{place}: noise_priors must begin with 0, which is sampling without one.")
    for regime in config.regimes:
        if FEATURE_MATCHING not in config.grids(regime):
            raise UserError(
                f"{place}: tuning.grids: {FEATURE_MATCHING} has none in the {regime} regime, and all "
                "others are compared with it."
            )
