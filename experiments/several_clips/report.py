"""Write what was measured: means, and the arms' paired differences, with intervals."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation.intervals import Interval, crossed_interval, signed
from experiments.compare.analysis import Tables
from experiments.compare.methods import BASE, OPEN, TITLES
from experiments.compare.report import MIN_MOTIONS, SMALL_TRIAL
from experiments.compare.rows import Row, write_rows
from experiments.several_clips.measuring import ARMS, ONE, REGIMES_OF, THREE, Question
from motionmatcher.files import write_json, write_text

# Metric -> its name and digits.
METRICS = {
    "path_error": ("path error, px", 2),
    "correlation": ("displacement correlation", 2),
    "leakage": ("leakage", 3),
    "color_leaked": ("colour leaked", 3),
    "shape_leaked": ("shape leaked", 3),
    "background_leaked": ("background leaked", 3),
    "leakage_with_object": ("leakage, videos with an object", 3),
    "object_found": ("object found", 2),
}
PAGE, ROWS, PICTURE = "RESULTS.md", "videos.csv", "clips.png"


def compare_arms(rows: Sequence[Row], methods: Sequence[str]) -> list[dict[str, Any]]:
    """Compare three clips with one, for each method and metric.

    Returns:
        One entry each: "method", "metric", the intervals of "base" and of the arms by their names, and
        that of the paired "difference", three clips less one.
    """
    tables = Tables(rows)
    base = [row for row in rows if row.method == BASE]
    found = []
    for method in methods:
        arms = {
            arm: [row for row in rows if (row.method, row.changes) == (method, arm)] for arm in ARMS
        }
        for metric in METRICS:
            values = {arm: tables.table(metric, own) for arm, own in arms.items()}
            found.append(
                {
                    "method": method,
                    "metric": metric,
                    "base": crossed_interval(tables.table(metric, base)),
                    **{arm: crossed_interval(table) for arm, table in values.items()},
                    "difference": crossed_interval(values[THREE] - values[ONE]),
                }
            )
    return found


def write_report(
    folder: Path, rows: Sequence[Row], question: Question, json_file: Path | None
) -> None:
    """Write the page, one line a video, and what programs want to know."""
    found = compare_arms(rows, question.methods)
    write_rows(folder / ROWS, rows)
    write_text(folder / PAGE, _page(found, question))
    if json_file is not None:
        plain = [
            {
                key: asdict(value) if isinstance(value, Interval) else value
                for key, value in e.items()
            }
            for e in found
        ]
        write_json(json_file, {"question": asdict(question), "results": plain})


def _page(found: Sequence[dict[str, Any]], question: Question) -> str:
    parts = [
        "# Three clips of one path against one of them",
        "Written by `python -m experiments.several_clips`; never by hand. "
        "[docs/several_clips.md](../../several_clips.md) says how it is measured.",
        f"Motions: {', '.join(question.motions)}; trainings of each: {question.seeds}, of {question.steps} "
        "steps after captions that name the shape alone; no noise prior. Means with 95 % intervals over "
        "motions and prompts.",
        *([SMALL_TRIAL] if len(question.motions) < MIN_MOTIONS else []),
        f"![The clips]({PICTURE})",
    ]
    for method in question.methods:
        regime = "at all noise" if REGIMES_OF[method] == OPEN else "at high noise"
        lines = [
            f"| {TITLES[method]}, {regime} | base | {ONE} | {THREE} | {THREE} less {ONE} |",
            "|---|---|---|---|---|",
        ]
        for entry in found:
            if entry["method"] == method:
                name, digits = METRICS[entry["metric"]]
                cells = [entry[key].format(digits) for key in ("base", *ARMS)]
                cells.append(signed(entry["difference"], digits))
                lines.append(f"| {name} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"
