"""Write RESULTS.md: everything in it is computed."""

from collections.abc import Iterable, Mapping, Sequence

from evaluation.intervals import NUM_RESAMPLES
from testbed.comparison.config import ComparisonConfig
from testbed.comparison.methods import BASE, FEATURE_MATCHING, short_title, title
from testbed.comparison.outcome import COMPARED, Outcome
from testbed.comparison.statistics import EQUAL_MOTION_MARGIN, signed

MOTION_COLUMNS = {
    "path_error": ("path error, px", 2),
    "centred_error": ("centred, px", 2),
    "correlation": ("displacement correlation", 2),
    "size_error": ("size error, px", 2),
    "camera_error": ("camera error, px", 2),
    "one_object": ("frames with one object", 2),
}
APPEARANCE_COLUMNS = {
    "color_kept": ("colour kept", 2),
    "shape_kept": ("shape kept", 2),
    "background_kept": ("background kept", 2),
    "color_leaked": ("colour leaked", 2),
    "shape_leaked": ("shape leaked", 2),
    "background_leaked": ("background leaked", 2),
    "leakage": ("leakage", 3),
}

MIN_MOTIONS = 4  # fewer make a trial of the program, not evidence
SMALL_TRIAL = (
    "A small trial of the program: with so few motions, its intervals and verdicts say nothing."
)
_MEASURES = """## How it is measured

By the renderer's own tracker (`testbed/tracker.py`) against the clip's exact ground truth, in pixels
of 64. *Path error*: mean distance from the reference's place; *centred*: the same after each path's
mean is taken off. *Displacement correlation*: of the steps from frame to frame, direction included;
not for references that travel less than {min_travel:g} px. *Size*: of the radius. *Camera*: how far
apart both cameras show the same points; only where the reference's camera moves and the prompt's
background shows it; one that cannot be followed counts as at rest.

No frame is dropped. In a frame without an object, the place counts as any place of the frame (its
error is the mean distance to all pixels), the radius as 0, the step as none. A training that diverged
counts as videos without an object.

*Kept*: part of the videos with the prompt's attribute. *Leaked*: part of the videos with the
reference's attribute where the prompt asks for another one; to be read against the base's own rate.
*Leakage*: mean over colour, shape, background style and background colour.

In brackets: 95 % intervals, bootstrapped over motions and prompts drawn independently
({resamples} times), after averaging over training seeds and samples. With so few motions and prompts
they are rough. *Seconds* are those of one core.
"""


def results_text(
    outcome: Outcome, config: ComparisonConfig, header: Mapping[str, str], base_scores: str
) -> str:
    """Write all of RESULTS.md.

    Args:
        outcome: What came out.
        config: What was compared.
        header: Name -> value of how it was made: command, duration, machine, ….
        base_scores: The base's own scores as text.
    """
    from testbed.comparison.measurement import MIN_TRAVEL

    parts = [
        "# Methods compared on Moving Shapes",
        "Written by `python -m testbed.compare`; not edited.",
        _table(("what", "value"), header.items()),
        *([f"**{SMALL_TRIAL}**"] if len(config.report.motions) < MIN_MOTIONS else []),
        "## The claim",
        _claim(outcome),
        "## Methods",
        _methods(outcome, config),
        "![Error against leakage](results/error_against_leakage.png)",
        "## Feature matching less the others",
        "Paired over motions and prompts. Errors: less is better; correlation: more.",
        _differences(outcome),
        "## Error against training, and at equal time",
        _curves(outcome),
        "![Error against training steps](results/error_against_steps.png)",
        "## Path error by motion",
        _by_motion(outcome, config),
        f"Videos: {_sheet_links(config)}; figures of each video: [cells.csv](results/cells.csv).",
        "## Tuning",
        _tuning(outcome, config),
        "## What feature matching's settings do",
        _ablations(outcome, config),
        _MEASURES.format(min_travel=MIN_TRAVEL, resamples=f"{NUM_RESAMPLES:,}".replace(",", " ")),
        "## The base",
        base_scores,
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _claim(outcome: Outcome) -> str:
    holding = sum(verdict.holds for verdict in outcome.verdicts)
    verdict = "established" if outcome.claim_holds else "not established"
    lines = [
        "Feature matching moves more like the reference than the base and the noise prior alone, and "
        "against the losses on the prediction itself it gets at least equal motion at less leakage. "
        f"**This is {verdict}: {holding} of {len(outcome.verdicts)} parts hold.**",
        'A difference counts when its 95 % interval leaves out 0. "At least as well" means that the '
        f"interval leaves out a deficit of more than {EQUAL_MOTION_MARGIN:.0%} of the base's path error.",
        "\n".join(f"- {verdict.sentence}" for verdict in outcome.verdicts),
    ]
    return "\n\n".join(lines)


def _methods(outcome: Outcome, config: ComparisonConfig) -> str:
    size = (
        f"{len(config.report.motions)} motions, {len(config.prompts)} prompts, "
        f"{config.report.seeds} training seeds, {config.samples} samples each; the same LoRA, training "
        "noises and start noises for all methods."
    )
    tables = []
    for columns in (MOTION_COLUMNS, APPEARANCE_COLUMNS):
        rows = [
            (
                arm.title,
                *(arm.figures[name].format(digits) for name, (_, digits) in columns.items()),
            )
            for arm in outcome.arms
        ]
        if columns is MOTION_COLUMNS:
            rows = [
                (*row, f"{arm.seconds:.0f}") for row, arm in zip(rows, outcome.arms, strict=True)
            ]
        names = [name for name, _ in columns.values()]
        last = ["training, s"] if columns is MOTION_COLUMNS else []
        tables.append(_table(("method", *names, *last), rows))
    return "\n\n".join([size, *tables])


def _differences(outcome: Outcome) -> str:
    rows = [
        (
            title(FEATURE_MATCHING, difference.noise_prior),
            difference.other,
            *(signed(difference.figures[name], 3 if name == "leakage" else 2) for name in COMPARED),
        )
        for difference in outcome.differences
    ]
    columns = {**MOTION_COLUMNS, **APPEARANCE_COLUMNS}
    return _table(("", "less", *(columns[name][0] for name in COMPARED)), rows)


def _curves(outcome: Outcome) -> str:
    rows = [
        (
            title(curve.method, curve.noise_prior),
            f"{curve.seconds_per_step:.2f}",
            *(interval.format(2) for interval in curve.steps.values()),
            curve.at_equal_seconds.format(2),
        )
        for curve in outcome.curves
    ]
    steps = [f"{step} steps" for step in outcome.curves[0].steps]
    equal = f"after {outcome.equal_seconds:.0f} s"
    introduction = (
        "Path error in px at each method's learning rate; 0 steps is the base. The last column reads "
        "each curve at the time the quickest method takes for its last step."
    )
    table = _table(("method", "seconds a step", *steps, equal), rows)
    return f"{introduction}\n\n{table}"


def _by_motion(outcome: Outcome, config: ComparisonConfig) -> str:
    rows = [
        (arm.title, *(f"{arm.by_motion[motion]:.1f}" for motion in config.report.motions))
        for arm in outcome.arms
    ]
    return _table(("method", *config.report.motions), rows)


def _tuning(outcome: Outcome, config: ComparisonConfig) -> str:
    introduction = (
        "The rule, fixed beforehand: the lowest path error, averaged over the tuning motions "
        f"({', '.join(config.tuning.motions)}), prompts and noise priors, in px. Chosen in bold."
    )
    points = [(rate, steps) for rate in config.tuning.learning_rates for steps in config.steps]
    rows = []
    for method, errors in outcome.grid.items():
        choice = outcome.choices[method]
        shown = [
            f"**{errors[point]:.2f}**"
            if point == (choice.learning_rate, choice.steps)
            else f"{errors[point]:.2f}"
            for point in points
        ]
        rows.append((short_title(method), *shown))
    names = [f"{rate:g}, {steps} steps" for rate, steps in points]
    return f"{introduction}\n\n{_table(('method', *names), rows)}"


def _ablations(outcome: Outcome, config: ComparisonConfig) -> str:
    introduction = (
        "One setting changed at a time, on the tuning motions, at the steps and learning rate chosen "
        f"for feature matching; the unchanged ones are those of `{config.train_config}`. The kind of "
        "maps is in the tables above, the number of steps and the learning rate under Tuning."
    )
    columns = {**MOTION_COLUMNS, **APPEARANCE_COLUMNS}
    rows = [
        (
            "base, not trained" if ablation.method == BASE else _variant_name(ablation.variant),
            f"{ablation.noise_prior:g}",
            *(ablation.figures[name].format(columns[name][1]) for name in COMPARED),
            signed(ablation.difference, 2) if ablation.difference else "",
        )
        for ablation in outcome.ablations
    ]
    names = [columns[name][0] for name in COMPARED]
    header = ("changed", "noise prior", *names, "path error less unchanged")
    return f"{introduction}\n\n{_table(header, rows)}"


def _variant_name(variant: Sequence[str]) -> str:
    return ", ".join(f"`{setting}`" for setting in variant) or "nothing"


def _sheet_links(config: ComparisonConfig) -> str:
    from testbed.comparison.pictures import SHEET_MOTIONS, sheet_name

    shown = config.report.motions[:SHEET_MOTIONS]
    return ", ".join(f"[{motion}](results/{sheet_name(motion)})" for motion in shown)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(header), ["---"] * len(header), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
