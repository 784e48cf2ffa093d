"""Write RESULTS.md: everything in it is computed; how to read it is in docs/comparison.md."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from evaluation.intervals import signed
from experiments.compare.analysis import Arm, Report, decisions, tune
from experiments.compare.methods import BASE, RESTING, TITLES
from experiments.compare.pictures import picture_name, write_pictures
from experiments.compare.rows import Row
from motionmatcher.files import write_json, write_text
from motionmatcher.paths import shipped
from motionmatcher.text_files import read_json

# Metric -> its name and digits in tables.
MOTION = {
    "path_error": ("path error, px", 2),
    "centred_error": ("centred, px", 2),
    "correlation": ("displacement correlation", 2),
    "size_error": ("size error, px", 2),
    "camera_error": ("camera error, px", 2),
    "one_object": ("frames with one object", 2),
}
LOOKS = {
    "color_kept": ("colour kept", 2),
    "shape_kept": ("shape kept", 2),
    "background_kept": ("background kept", 2),
    "color_leaked": ("colour leaked", 2),
    "shape_leaked": ("shape leaked", 2),
    "background_leaked": ("background leaked", 2),
    "leakage": ("leakage", 3),
    "leakage_with_object": ("leakage, videos with an object", 3),
}
COMPARED = {
    name: {**MOTION, **LOOKS}[name]
    for name in ("path_error", "centred_error", "correlation", "leakage", "leakage_with_object")
}
CLAIM = {
    "a": "feature matching moves better than the base and than the noise prior alone",
    "b": "open, feature matching leaks less than each pixel loss at equal path error",
    "c": "gated, feature matching moves no worse than each pixel loss",
}
MADE = "made.json"
RULES = "docs/comparison.md"
MIN_MOTIONS = 4  # fewer make a trial of the program, not evidence
SMALL_TRIAL = (
    "A small trial of the program: with so few motions, its intervals and verdicts say nothing."
)


def write_results(folder: Path, rows: Sequence[Row], json_file: Path | None) -> None:
    """Write RESULTS.md and pictures, and print the claim.

    Args:
        folder: Gets them; has `made.json`, which says how the rows were made.
        rows: Of a whole comparison.
        json_file: Gets the claim's parts, when given.
    """
    made = read_json(folder / MADE) if (folder / MADE).is_file() else {}
    report = Report(rows)
    claim = _claim(report)
    rules = Path(os.path.relpath(shipped(RULES), folder)).as_posix()
    parts = [
        "# Methods compared on Moving Shapes",
        "Written by `python -m experiments.compare`, not edited. The rules, what is measured, and what "
        f"follows: [{RULES}]({rules}).",
        _table(("what", "value"), made.items()),
        "## The claim",
        *claim,
        *(text for condition in report.conditions for text in _condition(report, condition)),
        "## Path error by motion, without noise prior",
        _by_motion(report),
        "## Decisions",
        _decisions(rows),
        "## Tuning",
        _tuning(rows),
    ]
    write_text(folder / "RESULTS.md", "\n\n".join(part.strip() for part in parts) + "\n")
    write_pictures(folder, report)
    print(f"{claim[0]}\nwritten: {folder / 'RESULTS.md'}")
    if json_file:
        write_json(json_file, {"made": made, "parts": [asdict(part) for part in report.parts()]})


def _claim(report: Report) -> list[str]:
    """The verdict of each letter, and all parts."""
    parts = report.parts()
    lines = [SMALL_TRIAL] if len(report.motions) < MIN_MOTIONS else []
    for letter, claim in CLAIM.items():
        holds = [part.holds for part in parts if part.letter == letter]
        answer = "not asked" if not holds else "yes" if all(holds) else "no"
        lines.append(f"- ({letter}) {claim}: **{answer}**, {sum(holds)} of {len(holds)} parts.")
    header = ("", "regime", "captions", "part", "holds", "evidence")
    table = [
        (part.letter, *part.condition, part.claim, "yes" if part.holds else "no", part.evidence)
        for part in parts
    ]
    return ["\n".join(lines), _table(header, table)]


def _condition(report: Report, condition: tuple[str, str]) -> list[str]:
    """Tables of all methods under one condition."""
    regime, caption = condition
    methods = report.methods(condition)
    arms = [
        report.arm(condition, RESTING),
        *(
            report.arm(condition, method, prior)
            for prior in report.priors
            for method in (BASE, *methods)
        ),
    ]
    areas = report.areas(condition)
    curves = {
        method: {
            arm.step: ", ".join(
                report.interval(name, arm).format(digits)
                for name, digits in (("path_error", 1), ("leakage", 3))
            )
            for arm in report.curve(condition, method)
        }
        for method in methods
    }
    steps = sorted({step for curve in curves.values() for step in curve})  # 0 is the base
    differences = [
        (
            own.title,
            other.title,
            *(
                signed(report.interval(name, own, less=other), digits)
                for name, (_, digits) in COMPARED.items()
            ),
        )
        for own, other in report.compared(condition)
    ]
    return [
        f"## {regime.capitalize()}, {caption} captions",
        _table(
            ("method", "steps", *_names(MOTION)),
            [(arm.title, f"{arm.step}", *_metrics(report, arm, MOTION)) for arm in arms],
        ),
        _table(
            ("method", *_names(LOOKS)),
            [(arm.title, *_metrics(report, arm, LOOKS)) for arm in arms[1:]],
        ),
        "Paired differences:",
        _table(("", "less", *_names(COMPARED)), differences),
        "Over the training, without noise prior: path error and leakage, and the area left of the curve.",
        _table(
            ("method", "base", *(f"{step} steps" for step in steps[1:]), "area, px"),
            [
                (TITLES[method], *(curve.get(step, "") for step in steps), areas[method].format(2))
                for method, curve in curves.items()
            ],
        ),
        f"![Error against leakage]({picture_name(condition)})",
    ]


def _by_motion(report: Report) -> str:
    arms = [report.arm(("", ""), RESTING), report.arm(("", ""), BASE)]
    arms += [report.arm(each, own) for each in report.conditions for own in report.methods(each)]
    rows = [
        (
            f"{arm.title} ({arm.regime}, {arm.caption})" if arm.regime else arm.title,
            *(f"{error:.1f}" for error in report.table("path_error", arm).mean(axis=1)),
        )
        for arm in arms
    ]
    return _table(("method, no noise prior", *report.motions), rows)


def _decisions(rows: Sequence[Row]) -> str:
    lines = [
        (
            decision.name if option is decision.options[0] else "",
            " ".join(option.changes) or "as shared",
            option.error.format(2),
            option.leakage.format(3),
            signed(option.more_leakage, 3),
            "**chosen**" if option is decision.chosen else "" if option.allowed else "leaks",
        )
        for decision in decisions(rows)
        for option in decision.options
    ]
    header = ("decision", "settings", "path error, px", "leakage", "less the base's", "")
    return _table(header, lines)


def _tuning(rows: Sequence[Row]) -> str:
    lines = [
        (
            TITLES[tuned.method],
            tuned.regime,
            f"{tuned.choice.learning_rate:g}",
            f"{tuned.choice.steps}",
            f"{min(tuned.errors.values()):.2f}",
            "; ".join(
                f"{rate:g}, {step}: {error:.1f}" for (rate, step), error in tuned.errors.items()
            ),
            ", ".join(tuned.edges),
        )
        for tuned in tune(rows)
    ]
    header = "method | regime | rate | steps | path error, px | all of its grid | at the edge"
    return _table(header.split(" | "), lines)


def _metrics(report: Report, arm: Arm, metrics: Mapping[str, tuple[str, int]]) -> list[str]:
    return [report.interval(name, arm).format(digits) for name, (_, digits) in metrics.items()]


def _names(metrics: Mapping[str, tuple[str, int]]) -> list[str]:
    return [name for name, _ in metrics.values()]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(header), ["---"] * len(header), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
