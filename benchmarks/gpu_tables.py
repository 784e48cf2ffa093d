"""What the parts of the measurement on a GPU found, brought together: for the JSON file and as tables."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.results import table
from benchmarks.timed_parts import DONE, PartResult

Results = Mapping[str, PartResult]
Found = dict[str, Any]
# Gives a cell of a row.
Cell = Callable[[Found], Any]


def values_of(results: Results) -> dict[str, Any]:
    """Give all values for the JSON file, those that take several parts under "compared".

    JSON has no infinity, and fp16's gradient is infinite where its update is skipped: null.
    """
    parts = {name: asdict(result) for name, result in results.items()}
    values: dict[str, Any] = _finite({"parts": parts, "compared": compare(results)})
    return values


def compare(results: Results) -> list[Found]:
    """Put what was counted beside what was measured, as far as both are there.

    Returns:
        What was found of steps, training and sampling, and "flops"; "peak_of_estimate", the measured
        peak by the counted one; and "share_of_rate", the FLOPs a second by those of a product of large
        matrices in the case's own precision (what `difference` mode does in fp32 counts like all else).
    """
    counted = {(each["base"], each["name"]): each for each in _of_kind(results, "count")}
    rates = {each["precision"]: each["flops_per_second"] for each in _of_kind(results, "rate")}
    compared = []
    steps, sampled = _of_kind(results, "step"), _of_kind(results, "sampling")
    for found in [*steps, *_trainings(results), *sampled]:
        values = dict(found)
        count = counted.get((found["base"], found["name"]))
        if count is not None and "peak_bytes" in found:
            values["estimated_peak_bytes"] = count["peak_bytes"]
            values["peak_of_estimate"] = found["peak_bytes"] / count["peak_bytes"]
        if count is not None and "flops" in count:
            values["flops"] = count["flops"]
            if "seconds" in found and found["precision"] in rates:
                per_second = count["flops"] / found["seconds"]
                values["share_of_rate"] = per_second / rates[found["precision"]]
        compared.append(values)
    return compared


def training_so_far(steps: Sequence[Found]) -> Found:
    """Sum up the steps of a training, of which the first takes longer."""
    seconds = [step["seconds"] for step in steps]
    return {
        "steps": len(steps),
        "seconds": statistics.median(seconds[1:] or seconds),
        "losses": [step["loss"] for step in steps],
        "skipped_updates": sum(not math.isfinite(step["gradient_norm"]) for step in steps),
    }


def _trainings(results: Results) -> list[Found]:
    """List what trainings came to; of one that was stopped, what its steps so far did."""
    found = []
    for result in results.values():
        whole = [each for each in result.found if each["kind"] == "training"]
        steps = [each for each in result.found if each["kind"] == "training step"]
        if steps and not whole:
            what = {key: steps[0][key] for key in ("base", "name", "precision")}
            whole = [{"kind": "training", **what, "loss_scale": None, **training_so_far(steps)}]
        found += whole
    return found


def paragraphs(results: Results) -> list[str]:
    """Make the tables of all that was found, and of what was not."""
    compared = compare(results)
    made = [
        _table(
            "Products of large matrices:",
            {
                "precision": lambda found: found["precision"],
                "TFLOP/s": lambda found: found["flops_per_second"] / 1e12,
            },
            _of_kind(results, "rate"),
        ),
        _table(
            "Training steps (precision, mode, recomputation). Share: of the rate of such products; of the "
            "estimate: measured peak memory by the one that `--dry-run` counts.",
            {
                "base": lambda found: found["base"],
                "step": lambda found: found["name"],
                "compiled": lambda found: "yes" if found["compiled"] else "",
                "seconds": lambda found: found.get("seconds", "out of memory"),
                "TFLOP": lambda found: _scaled(found, "flops", 1e12),
                "share": lambda found: found.get("share_of_rate", ""),
                **_PEAK,
            },
            [found for found in compared if found["kind"] == "step"],
        ),
        _table(
            "Training, by the program's own loop from a new LoRA:",
            {
                "base": lambda found: found["base"],
                "step": lambda found: found["name"],
                "steps": lambda found: found["steps"],
                "seconds a step": lambda found: found["seconds"],
                "first loss": lambda found: f"{found['losses'][0]:.3e}",
                "last loss": lambda found: f"{found['losses'][-1]:.3e}",
                "updates skipped": lambda found: found["skipped_updates"],
                "loss scale": lambda found: found["loss_scale"] or "",
                **_PEAK,
            },
            [found for found in compared if found["kind"] == "training"],
        ),
        _table(
            "Sampling with guidance; merged into the weights a LoRA costs nothing a pass, but in bf16 the "
            "program leaves it beside them:",
            {
                "base": lambda found: found["base"],
                "LoRA": lambda found: found["lora"],
                "seconds a step": lambda found: found["seconds"],
                **_PEAK,
            },
            [found for found in compared if found["kind"] == "sampling"],
        ),
        _table(
            "Not measured whole:",
            {
                "part": lambda found: found["part"],
                "state": lambda found: found["state"],
                "found": lambda found: len(found["found"]),
                "why": lambda found: found["reason"] or "",
            },
            [
                {"part": name, **asdict(result)}
                for name, result in results.items()
                if result.state != DONE
            ],
        ),
    ]
    return [paragraph for paragraph in made if paragraph]


def _table(text: str, columns: Mapping[str, Cell], rows: Sequence[Found]) -> str:
    """Make a table with its text; empty without rows."""
    cells = [[cell(found) for cell in columns.values()] for found in rows]
    return f"{text}\n\n{table(list(columns), cells)}" if rows else ""


def _scaled(found: Found, key: str, unit: float) -> float | str:
    return found[key] / unit if key in found else ""


def _finite(value: Any) -> Any:
    """Put None in the place of all numbers in nested lists and dictionaries that are not finite."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _of_kind(results: Results, *kinds: str) -> list[Found]:
    return [each for result in results.values() for each in result.found if each["kind"] in kinds]


_PEAK: dict[str, Cell] = {
    "peak GiB": lambda found: _scaled(found, "peak_bytes", 2**30),
    "of the estimate": lambda found: found.get("peak_of_estimate", ""),
}
