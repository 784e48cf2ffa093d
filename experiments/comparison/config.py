"""What is compared and how much of it: `experiments/comparison.yaml`, typed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.comparison.methods import FEATURE_MATCHING, TRAINED
from motionmatcher.errors import UserError, did_you_mean
from motionmatcher.text_files import read_yaml
from testbed.captions import appearance_caption
from testbed.renderer import BACKGROUND_COLORS, BACKGROUND_STYLES, OBJECT_COLORS, SHAPES


@dataclass(frozen=True)
class PromptConfig:
    """What a video shall show: names of `testbed.renderer`."""

    color: str
    shape: str
    background_style: str
    background_color: str

    @property
    def text(self) -> str:
        """The prompt, as the base's captions say it."""
        return appearance_caption(
            self.color, self.shape, self.background_style, self.background_color
        )


@dataclass(frozen=True)
class TuningConfig:
    """The grid, beside `steps`, and what it is searched on.

    Attributes:
        motions: Reference clips that their JSON marks as for tuning.
        seeds: Trainings a motion and learning rate.
        learning_rates: Tried for every method alike.
        grid_reason: Why this grid, in a sentence; RESULTS.md repeats it.
    """

    motions: list[str]
    seeds: int
    learning_rates: list[float]
    grid_reason: str


@dataclass(frozen=True)
class ReportConfig:
    """What is measured once, with the settings chosen in the tuning.

    Attributes:
        motions: Reference clips that their JSON marks as not for tuning.
        seeds: Trainings a motion and method.
    """

    motions: list[str]
    seeds: int


@dataclass(frozen=True)
class AblationConfig:
    """Changes of feature matching's settings, on the tuning motions.

    Attributes:
        seeds: Trainings a motion and variant.
        variants: Settings of the trainer each, as `key=value`.
        noise_priors: Tried with the unchanged settings and with the base.
    """

    seeds: int
    variants: list[list[str]]
    noise_priors: list[float]


@dataclass(frozen=True)
class CostConfig:
    """What one thread needs, for the estimate of `--dry-run` until something is measured.

    Attributes:
        seconds_per_step: Of training.
        seconds_per_video: Of sampling, decoding and measuring.
    """

    seconds_per_step: float
    seconds_per_video: float


@dataclass(frozen=True)
class ComparisonConfig:
    """Everything `python -m experiments.compare` reads.

    Attributes:
        train_config: The trainer's settings that all methods share.
        reference_dir: Folder of the reference clips and their ground truth.
        cells_dir: Gets one JSON a cell; what is there is not made again.
        results_dir: Gets RESULTS.md and the folder `results` with CSV and pictures.
        methods: Trained methods, of `methods.TRAINED`.
        steps: Training steps after which videos are sampled; the tuning chooses among them.
        noise_priors: Shares of the reference's inversion noise; every method is sampled with each.
        prompts: What the videos shall show.
        samples: Videos a training, step, noise prior and prompt.
        num_inference_steps: DDIM steps of sampling and inversion.
        batch_size: Videos sampled at a time.
        tuning: The first part.
        report: The second part.
        ablation: The third part.
        cost: For the estimate.
    """

    train_config: str
    reference_dir: str
    cells_dir: str
    results_dir: str
    methods: list[str]
    steps: list[int]
    noise_priors: list[float]
    prompts: list[PromptConfig]
    samples: int
    num_inference_steps: int
    batch_size: int
    tuning: TuningConfig
    report: ReportConfig
    ablation: AblationConfig
    cost: CostConfig


def load_comparison(*paths: Path) -> ComparisonConfig:
    """Read the settings.

    Args:
        paths: YAML files; a later one changes some keys of those before.

    Raises:
        UserError: A file is missing, or a key is unknown, missing, of the wrong type or out of range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    merged: Any = OmegaConf.structured(ComparisonConfig)
    for path in paths:
        values = read_yaml(path)
        if not isinstance(values, dict):
            raise UserError(f"{path} must be a list of `key: value` lines.")
        try:
            merged = OmegaConf.merge(merged, values)
        except OmegaConfBaseException as error:
            raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    place = str(paths[-1])
    try:
        config = OmegaConf.to_object(merged)
    except MissingMandatoryValue as error:
        raise UserError(f"{place}: {error.full_key} is missing") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{place}: {' '.join(str(error).split())}") from error
    assert isinstance(config, ComparisonConfig)
    _check(config, place)
    return config


def _check(config: ComparisonConfig, place: str) -> None:
    names = {
        "color": OBJECT_COLORS,
        "shape": SHAPES,
        "background_style": BACKGROUND_STYLES,
        "background_color": BACKGROUND_COLORS,
    }
    for index, prompt in enumerate(config.prompts):
        for key, valid in names.items():
            _check_name(getattr(prompt, key), valid, f"{place}: prompts[{index}].{key}")
    for method in config.methods:
        _check_name(method, TRAINED, f"{place}: methods")
    if FEATURE_MATCHING not in config.methods:
        raise UserError(
            f"{place}: methods: expected {FEATURE_MATCHING} among them, for it is judged"
        )
    lists: dict[str, tuple[list[Any], float, float]] = {
        "methods": (config.methods, 0, 0),
        "prompts": (config.prompts, 0, 0),
        "steps": (config.steps, 1, 1e9),
        "noise_priors": (config.noise_priors, 0, 1),
        "tuning.motions": (config.tuning.motions, 0, 0),
        "tuning.learning_rates": (config.tuning.learning_rates, 1e-12, 1e9),
        "report.motions": (config.report.motions, 0, 0),
    }
    for key, (values, least, most) in lists.items():
        if not values:
            raise UserError(f"{place}: {key} is empty; expected one or more")
        numbers = [value for value in values if isinstance(value, int | float)]
        if any(not least <= value <= most for value in numbers):
            raise UserError(f"{place}: {key}: expected values of {least:g} to {most:g}: {values}")
        if numbers and sorted(set(numbers)) != numbers:
            raise UserError(f"{place}: {key}: expected ascending values, found {values}")
    if config.noise_priors[0] != 0:
        raise UserError(f"{place}: noise_priors: expected 0 first, which is sampling without one")
    counts = {
        "samples": config.samples,
        "num_inference_steps": config.num_inference_steps,
        "batch_size": config.batch_size,
        "tuning.seeds": config.tuning.seeds,
        "report.seeds": config.report.seeds,
        "ablation.seeds": config.ablation.seeds,
    }
    for key, count in counts.items():
        if count < 1:
            raise UserError(f"{place}: {key}: expected 1 or more, found {count}")


def _check_name(name: str, valid: Any, place: str) -> None:
    if name not in valid:
        raise UserError(
            f"{place}: expected one of {', '.join(valid)}, found {name!r}.{did_you_mean(name, valid)}"
        )
