"""Write RESULTS.md: everything in it is computed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.comparison.config import ComparisonConfig
from experiments.comparison.explanations import conditions_text, measures_text
from experiments.comparison.methods import BASE, FEATURE_MATCHING, short_title, title
from experiments.comparison.outcome import (
    COMPARED,
    COMPARED_AT_EQUAL_SECONDS,
    Arm,
    Difference,
    Outcome,
)
from experiments.comparison.statistics import EQUAL_MOTION_MARGIN, edges_reached, signed
from motionmatcher.config.settings import TrainSettings

MOTION_COLUMNS = {
    "path_error": ("path error, px", 2),
    "centred_error": ("centred, px", 2),
    "correlation": ("displacement correlation", 2),
    "size_error": ("size error, px", 2),
    "camera_error": ("camera error, px", 2),
    "one_object": ("frames with one object", 2),
}
KEPT_COLUMNS = {
    "color_kept": ("colour kept", 2),
    "shape_kept": ("shape kept", 2),
    "background_kept": ("background kept", 2),
}
LEAKAGE_COLUMNS = {
    "background_leaked": ("background leaked", 2),
    "color_leaked": ("colour leaked", 2),
    "shape_leaked": ("shape leaked", 2),
    "leakage": ("leakage", 3),
    "color_leaked_by_object": ("colour leaked, videos with an object", 2),
    "shape_leaked_by_object": ("shape leaked, videos with an object", 2),
    "leakage_with_object": ("leakage, videos with an object", 3),
}
_COLUMNS = {**MOTION_COLUMNS, **KEPT_COLUMNS, **LEAKAGE_COLUMNS}

MIN_MOTIONS = 4  # fewer make a trial of the program, not evidence
SMALL_TRIAL = (
    "A small trial of the program: with so few motions, its intervals and verdicts say nothing."
)


@dataclass(frozen=True)
class Making:
    """How the results came about.

    Attributes:
        header: Name -> value: command, duration, machine, ….
        settings: The trainer's, of any training of the report.
        warnings: An example of each kind of warning of the trainer -> trainings that had it.
        base_scores: The base's own scores as text.
    """

    header: Mapping[str, str]
    settings: TrainSettings
    warnings: Mapping[str, int]
    base_scores: str


def results_text(outcome: Outcome, config: ComparisonConfig, making: Making) -> str:
    """Write all of RESULTS.md.

    Args:
        outcome: What came out.
        config: What was compared.
        making: How it was made.
    """
    parts = [
        "# Methods compared on Moving Shapes",
        "Written by `python -m experiments.compare`; not edited.",
        _table(("what", "value"), making.header.items()),
        *([f"**{SMALL_TRIAL}**"] if len(config.report.motions) < MIN_MOTIONS else []),
        "## The claim",
        *_claim(outcome),
        "## What is compared",
        *conditions_text(config, making.settings),
        "## Methods",
        *_methods(outcome, config),
        "![Error against leakage](results/error_against_leakage.png)",
        "## Feature matching less the others",
        "Paired over motions and prompts. Errors and leakage: less is better; correlation: more.",
        _differences(outcome.differences, COMPARED),
        "## Error against training, and at equal time",
        *_curves(outcome),
        "![Error against training steps](results/error_against_steps.png)",
        "## Path error by motion",
        _by_motion(outcome, config),
        f"Videos: {_sheet_links(config)}; metrics of each video: [cells.csv](results/cells.csv).",
        "## Tuning",
        *_tuning(outcome, config),
        "## What feature matching's settings do",
        *_ablations(outcome, config),
        "## How it is measured",
        measures_text(),
        "## Warnings of the trainer",
        _warnings(making.warnings),
        "## The base",
        making.base_scores,
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _claim(outcome: Outcome) -> list[str]:
    holding = sum(verdict.holds for verdict in outcome.verdicts)
    verdict = "established" if outcome.claim_holds else "not established"
    return [
        "Feature matching moves more like the reference than the base and the noise prior alone, and "
        "against the losses on the prediction itself it gets at least equal motion at less leakage. "
        f"**This is {verdict}: {holding} of {len(outcome.verdicts)} parts hold.**",
        "The rule, written down before the comparison was run: a difference counts when its 95 % interval "
        'leaves out 0. "Moves more like the reference" asks that of path error and of displacement '
        'correlation; "leaks less" of the leakage of all videos and of those with an object. "At least '
        'as well" means that the interval leaves out a deficit of more than '
        f"{EQUAL_MOTION_MARGIN:.0%} of the base's path error. Feature matching is compared without and "
        "with each noise prior, against every noise prior alone, and against the pixel losses with the "
        "same one.",
        "\n".join(f"- {verdict.sentence}" for verdict in outcome.verdicts),
        "Beside the claim, for an object that rests in the middle has a low path error too:",
        "\n".join(f"- {verdict.sentence}" for verdict in outcome.resting_verdicts),
    ]


def _methods(outcome: Outcome, config: ComparisonConfig) -> list[str]:
    size = (
        f"{len(config.report.motions)} motions, {len(config.prompts)} prompts, training seeds: "
        f"{config.report.seeds}, samples: {config.samples}."
    )

    def metrics(arm: Arm, columns: Mapping[str, tuple[str, int]]) -> list[str]:
        return [arm.metrics[name].format(digits) for name, (_, digits) in columns.items()]

    motion = [
        (arm.title, *metrics(arm, MOTION_COLUMNS), _seconds(arm.seconds, 0))
        for arm in (outcome.resting, *outcome.arms)
    ]
    kept = [(arm.title, *metrics(arm, KEPT_COLUMNS)) for arm in outcome.arms]
    leaked = []
    for arm in outcome.arms:
        counts = [arm.num_videos[name] for name in LEAKAGE_COLUMNS]
        shown = zip(metrics(arm, LEAKAGE_COLUMNS), counts, strict=True)
        leaked.append((arm.title, *(f"{text} of {count}" for text, count in shown)))
    return [
        size,
        _table(("method", *_names(MOTION_COLUMNS), "training, s"), motion),
        _table(("method", *_names(KEPT_COLUMNS)), kept),
        '"Of": the number of videos that a metric is about.',
        _table(("method", *_names(LEAKAGE_COLUMNS)), leaked),
    ]


def _differences(differences: Sequence[Difference], metrics: Sequence[str]) -> str:
    rows = [
        (
            title(FEATURE_MATCHING, difference.noise_prior),
            difference.other,
            *(signed(difference.metrics[name], _COLUMNS[name][1]) for name in metrics),
        )
        for difference in differences
    ]
    return _table(("", "less", *_names(metrics)), rows)


def _curves(outcome: Outcome) -> list[str]:
    rows = [
        (
            title(curve.method, curve.noise_prior),
            _seconds(curve.seconds_per_step, 2),
            *(interval.format(2) for interval in curve.steps.values()),
            curve.at_equal_seconds.format(2),
        )
        for curve in outcome.curves
    ]
    steps = [f"{step} steps" for step in outcome.curves[0].steps]
    equal = f"after {_seconds(outcome.equal_seconds, 0)} s"
    return [
        "Path error in px at each method's learning rate; 0 steps is the base. The last column reads "
        "each curve at the time the quickest method takes for its last step.",
        _table(("method", "seconds per step", *steps, equal), rows),
        f"Feature matching less each loss on the prediction, both {equal} of training, paired:",
        _differences(outcome.differences_at_equal_seconds, COMPARED_AT_EQUAL_SECONDS),
    ]


def _by_motion(outcome: Outcome, config: ComparisonConfig) -> str:
    rows = [
        (arm.title, *(f"{arm.by_motion[motion]:.1f}" for motion in config.report.motions))
        for arm in (outcome.resting, *outcome.arms)
    ]
    return _table(("method", *config.report.motions), rows)


def _tuning(outcome: Outcome, config: ComparisonConfig) -> list[str]:
    rates, steps = config.tuning.learning_rates, config.steps
    points = [(rate, step) for rate in rates for step in steps]
    rows = [
        (
            short_title(outcome.resting.method),
            *[f"{outcome.resting_grid_error:.2f}"] * len(points),
            "",
        )
    ]
    for method, errors in outcome.grid.items():
        choice = outcome.choices[method]
        shown = [
            f"**{errors[point]:.2f}**"
            if point == (choice.learning_rate, choice.steps)
            else f"{errors[point]:.2f}"
            for point in points
        ]
        edges = ", ".join(edges_reached(choice, rates, steps))
        rows.append((short_title(method), *shown, edges))
    names = [f"{rate:g}, {step} steps" for rate, step in points]
    return [
        "The rule, fixed beforehand: the lowest path error, averaged over the tuning motions "
        f"({', '.join(config.tuning.motions)}), prompts and noise priors, in px. Chosen in bold.",
        _table(("method", *names, "chosen at the grid's edge"), rows),
        f"The grid: {config.tuning.grid_reason.strip()} A choice at its edge need not be the method's best: "
        "other rates or more steps, which were not tried, may serve it better, so the comparison is of the "
        "methods within this grid.",
    ]


def _ablations(outcome: Outcome, config: ComparisonConfig) -> list[str]:
    rows = [
        (
            "base, not trained" if ablation.method == BASE else _variant_name(ablation.variant),
            f"{ablation.noise_prior:g}",
            *(ablation.metrics[name].format(_COLUMNS[name][1]) for name in COMPARED),
            signed(ablation.difference, 2) if ablation.difference else "",
        )
        for ablation in outcome.ablations
    ]
    header = ("changed", "noise prior", *_names(COMPARED), "path error less unchanged")
    missing = (
        [
            "Settings with a cell that could not be made are left out; missing: "
            f"{', '.join(outcome.missing_ablations)}."
        ]
        if outcome.missing_ablations
        else []
    )
    return [
        "One setting changed at a time, on the tuning motions, at the steps and learning rate chosen "
        f"for feature matching; the unchanged ones are those of `{config.train_config}`. The kind of "
        "maps is in the tables above, the number of steps and the learning rate under Tuning. The "
        "differences favour the unchanged settings, for learning rate and steps were chosen for them, "
        "on these very motions.",
        _table(header, rows),
        *missing,
    ]


def _warnings(warnings: Mapping[str, int]) -> str:
    if not warnings:
        return "None."
    lines = [f"- {count} trainings, for instance: {text}" for text, count in warnings.items()]
    return "\n".join(lines)


def _variant_name(variant: Sequence[str]) -> str:
    return ", ".join(f"`{setting}`" for setting in variant) or "nothing"


def _sheet_links(config: ComparisonConfig) -> str:
    from experiments.comparison.pictures import SHEET_MOTIONS, sheet_name

    shown = config.report.motions[:SHEET_MOTIONS]
    return ", ".join(f"[{motion}](results/{sheet_name(motion)})" for motion in shown)


def _names(metrics: Iterable[str]) -> list[str]:
    return [_COLUMNS[name][0] for name in metrics]


def _seconds(seconds: float, digits: int) -> str:
    return "–" if math.isnan(seconds) else f"{seconds:.{digits}f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(header), ["---"] * len(header), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
