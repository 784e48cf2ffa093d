"""Write what came out: RESULTS.md, CSV, pictures, and the same as plain values for JSON."""

import math
import os
import platform
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.comparison.cells import Cell
from experiments.comparison.identity import CELL_VERSION
from experiments.comparison.markdown import Making, results_text
from experiments.comparison.outcome import Outcome
from experiments.comparison.pictures import (
    plot_error_against_leakage,
    plot_error_against_steps,
    write_sheets,
)
from experiments.comparison.rows import Row, write_csv
from experiments.comparison.workers import Bench, Result
from motionmatcher.bases.layout import BaseLayout
from motionmatcher.diffusion.sampling import settle_solver
from motionmatcher.files import write_text
from motionmatcher.text_files import read_json

_PACKAGES = ("torch", "diffusers", "transformers", "peft", "numpy")


def write_results(
    bench: Bench,
    outcome: Outcome,
    rows: Sequence[Row],
    report_cells: Sequence[Cell],
    results: Sequence[Result],
    header: Mapping[str, str],
) -> dict[str, Any]:
    """Write everything into the config's `results_dir`.

    Args:
        bench: Knows the cells' files.
        outcome: What came out.
        rows: All videos.
        report_cells: Their kept videos are shown, and their settings told.
        results: Of all cells.
        header: How it was made.

    Returns:
        Header and outcome as plain values.
    """
    config = bench.config
    folder = Path(config.results_dir) / "results"
    write_csv(folder / "cells.csv", rows)
    plot_error_against_leakage(outcome, folder / "error_against_leakage.png")
    plot_error_against_steps(outcome, folder / "error_against_steps.png")
    kept = {
        cell: _read_frames(bench.path(cell)) for cell in report_cells if cell.kept_step is not None
    }
    write_sheets(folder, config, kept)
    making = Making(
        header,
        settle_solver(bench.job(report_cells[-1]).settings, bench.layout.read_schedule()),
        trainer_warnings(results),
        _base_scores(bench.layout, bench.fingerprint),
    )
    text = results_text(outcome, config, making)
    write_text(Path(config.results_dir) / "RESULTS.md", text)
    return {"made": dict(header), "outcome": _plain(asdict(outcome))}


def provenance(
    bench: Bench, results: Sequence[Result], command: str, workers: int
) -> dict[str, str]:
    """Say how the results came about.

    Args:
        bench: Names base and settings.
        results: Of all cells.
        command: The command line.
        workers: Processes.
    """
    core_hours = sum(r["training_seconds"] + r["sampling_seconds"] for r in results) / 3600
    wall_hours = sum(result["wall_seconds"] for result in results) / 3600
    diverged = sum(result["diverged"] is not None for result in results)
    steps = sum(max(r["cell"]["steps"]) for r in results)
    videos = sum(len(result["videos"]) for result in results)
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "duration": f"{wall_hours / workers:.2f} hours with --workers {workers}; {core_hours:.2f} "
        "core-hours",
        "cells": f"{len(results)}: {steps} training steps, {videos} videos; {diverged} trainings "
        "diverged",
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in _PACKAGES)]
        ),
        "commit": ", ".join(sorted({r["code_version"] or "unknown" for r in results}))
        + f"; version {CELL_VERSION} of the cells",
        "base": f"`{Path(bench.layout.name).name}`, fingerprint {bench.fingerprint}"
        f"{_progress(bench.layout)}",
    }


def trainer_warnings(results: Iterable[Result]) -> dict[str, int]:
    """Sum up what the trainer warned of.

    Args:
        results: Of all cells.

    Returns:
        The first warning of each kind, which is all but the numbers -> how many trainings had it.
    """
    examples: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for result in results:
        warnings = [line for line in result["printed"] if line.startswith("warning: ")]
        kinds = {re.sub(r"\(.*?\)|\d\S*", "", line): line for line in warnings}
        counts.update(kinds.keys())
        examples = {**kinds, **examples}
    return {examples[kind].removeprefix("warning: "): count for kind, count in counts.items()}


def _processor() -> str:
    """The processor's name, where the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _progress(layout: BaseLayout) -> str:
    """How far the base was trained, where its folder says so."""
    file = layout.folder / "training.json"
    if not file.is_file():
        return ""
    progress = read_json(file)
    return f" ({progress['stage']}: {progress['step']} of {progress['num_steps']} steps)"


def _base_scores(layout: BaseLayout, fingerprint: str) -> str:
    from testbed.score_table import format_scores
    from testbed.standards import STANDARDS

    file = layout.folder / "scores.json"
    if not file.is_file():
        return "Its scores were not measured (`python -m testbed.score`)."
    scores = read_json(file)
    if scores["base"]["fingerprint"] != fingerprint:
        return "Its scores were not measured for these weights (`python -m testbed.score`)."
    table = format_scores(scores, STANDARDS[layout.denoiser.folder])
    return f"`python -m testbed.score`:\n\n```\n{table}\n```"


def _read_frames(result: Path) -> Sequence[NDArray[np.uint8]]:
    """Read the videos kept of a cell, in the order of noise priors and prompts."""
    with np.load(result.with_suffix(".npz")) as content:
        return list(content["frames"])


def _plain(value: Any) -> Any:
    """Make keys texts, and null of what is not finite, as JSON wants them."""
    if isinstance(value, dict):
        return {_key(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _key(key: Any) -> str:
    if isinstance(key, tuple):
        return ", ".join(f"{part:g}" for part in key)
    return str(key)
