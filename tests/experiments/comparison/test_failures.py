"""Cells that cannot be made; the others here are made up, for none is looked at."""

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launching import PROJECT

from experiments import compare as script
from experiments.comparison.cells import Cell, CellJob
from experiments.comparison.config import ComparisonConfig, load_comparison
from experiments.comparison.results import trainer_warnings
from experiments.comparison.workers import Bench
from motionmatcher.errors import UserError

NUM_CELLS = 2 + 3 + 3  # tuning, report, ablation
NUM_FRAMES = 8


class MadeUp(Executor):
    """Makes up results at once, or fails."""

    def __init__(self, fails: Callable[[Cell], BaseException | None] = lambda _: None) -> None:
        self.fails = fails

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        (job,) = args
        error = self.fails(job.cell)
        if error is not None:
            future.set_exception(error)
        else:
            write_result(job)
            future.set_result(None)
        return future


def write_result(job: CellJob) -> None:
    videos = [
        {
            "step": step,
            "noise_prior": noise_prior,
            "prompt": prompt,
            "sample": 0,
            "color": "green",
            "shape": "star",
            "background_style": "plain",
            "background_color": "white",
            "counts": [1] * NUM_FRAMES,
            "path": [[20.0, 20.0]] * NUM_FRAMES,
            "radius": [9.0] * NUM_FRAMES,
            "camera": None,
        }
        for step in job.cell.steps
        for noise_prior in job.cell.noise_priors
        for prompt in range(len(job.prompts))
    ]
    result = {
        "cell": dataclasses.asdict(job.cell),
        "code_version": None,
        "diverged": None,
        "training_seconds": 1.0,
        "sampling_seconds": 1.0,
        "wall_seconds": 1.0,
        "printed": [],
        "videos": videos,
    }
    job.result.parent.mkdir(parents=True, exist_ok=True)
    job.result.write_text(json.dumps(result), encoding="utf-8")
    if job.cell.kept_step is not None:
        frames = np.zeros((len(videos), NUM_FRAMES, 64, 64, 3), np.uint8)
        np.savez_compressed(job.result.with_suffix(".npz"), frames=frames)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ComparisonConfig:
    monkeypatch.chdir(PROJECT)
    full = load_comparison(Path("experiments/comparison.yaml"))
    return dataclasses.replace(
        full,
        cells_dir=str(tmp_path / "cells"),
        results_dir=str(tmp_path),
        methods=["denoising", "feature_matching"],
        prompts=full.prompts[:2],
        tuning=dataclasses.replace(full.tuning, motions=["swing"], learning_rates=[3e-3]),
        report=dataclasses.replace(full.report, motions=["spiral"]),
        ablation=dataclasses.replace(full.ablation, variants=[["lora_rank=1"]]),
    )


@pytest.fixture
def bench(config: ComparisonConfig, base_folder: Path) -> Bench:
    return script.open_bench(config, str(base_folder))


def test_a_cell_that_fails_stops_no_other_and_is_named_in_the_end(
    bench: Bench, tmp_path: Path
) -> None:
    def fails(cell: Cell) -> BaseException | None:
        wrong = (cell.stage, cell.method) == ("tuning", "denoising")
        return ValueError("a bug\nof two lines") if wrong else None

    with pytest.raises(
        UserError,
        match=r"^1 cells could not .*tuning-denoising-swing-0 \(learning_rate=0.003\): "
        r"ValueError: a bug of two lines$",
    ):
        script.compare(bench, MadeUp(fails), "python -m this", 1)
    # Without its tuning, the method has no report; all else is there.
    assert len(list((tmp_path / "cells").glob("*.json"))) == NUM_CELLS - 2
    assert not (tmp_path / "RESULTS.md").exists()
    (trace,) = (tmp_path / "cells").glob("*.traceback.txt")
    assert "ValueError: a bug" in trace.read_text()
    again = Bench(bench.config, bench.base_folder, bench.layout)
    script.compare(again, MadeUp(), "python -m this", 1)
    assert (tmp_path / "RESULTS.md").exists()
    assert not trace.exists()


def test_without_tuned_feature_matching_there_are_no_ablations(
    bench: Bench, tmp_path: Path
) -> None:
    def fails(cell: Cell) -> BaseException | None:
        return UserError("no memory") if cell.method == "feature_matching" else None

    with pytest.raises(UserError, match=r"^1 cells .*UserError: no memory$"):
        script.compare(bench, MadeUp(fails), "python -m this", 1)
    made = sorted(path.name.split("-")[:2] for path in (tmp_path / "cells").glob("*.json"))
    assert made == [["report", "base"], ["report", "denoising"], ["tuning", "denoising"]]


def test_missing_ablations_are_left_out_of_the_report(bench: Bench, tmp_path: Path) -> None:
    def fails(cell: Cell) -> BaseException | None:
        return UserError("no memory") if "lora_rank=1" in cell.variant else None

    outcome, _ = script.compare(bench, MadeUp(fails), "python -m this", 1)
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    missing = "ablation-feature_matching-swing-0 (learning_rate=0.003, lora_rank=1)"
    assert f"missing: {missing}." in text
    assert "`lora_rank=1`" not in text
    assert {ablation.variant for ablation in outcome.ablations} == {()}
    with pytest.raises(UserError, match=r"lora_rank=1\): UserError: no memory$"):
        bench.require_made(["ablation"])
    assert not list((tmp_path / "cells").glob("*.traceback.txt"))  # its line says it all


def test_ablations_are_shown_without_the_unchanged_settings(bench: Bench) -> None:
    def fails(cell: Cell) -> BaseException | None:
        unchanged = cell.stage == "ablation" and cell.variant == ("learning_rate=0.003",)
        return UserError("no memory") if unchanged else None

    outcome, _ = script.compare(bench, MadeUp(fails), "python -m this", 1)
    assert {ablation.variant for ablation in outcome.ablations} == {(), ("lora_rank=1",)}
    assert all(ablation.difference is None for ablation in outcome.ablations)


def test_an_interruption_in_a_worker_is_no_failure_of_a_cell(bench: Bench) -> None:
    with pytest.raises(KeyboardInterrupt):
        script.compare(bench, MadeUp(lambda _: KeyboardInterrupt()), "python -m this", 1)
    assert not bench.failures


def test_a_killed_worker_is_told(bench: Bench) -> None:
    with pytest.raises(UserError, match=r"a worker was killed, .* fewer --workers"):
        script.compare(bench, MadeUp(lambda _: BrokenProcessPool()), "python -m this", 1)


def test_warnings_of_a_kind_are_counted_together() -> None:
    faint = "warning: 2 of 8 LoRA modules (down.0, up.1) got gradients (median 1.0e-17) near adam_epsilon"
    other = "warning: 5 of 8 LoRA modules (mid.3) got gradients (median 3.0e-19) near adam_epsilon"
    silent = "warning: 8 of 8 LoRA modules (mid.3) got no gradient"
    results = [{"printed": printed} for printed in ([faint, "note"], [other, silent], [])]
    assert trainer_warnings(results) == {
        faint.removeprefix("warning: "): 2,
        silent.removeprefix("warning: "): 1,
    }
