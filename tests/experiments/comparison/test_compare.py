"""The comparison from end to end, on a small base with random weights."""

import csv
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from launching import PROJECT, run_script

from experiments import compare as script
from experiments.comparison.cells import tuning_cells
from experiments.comparison.config import ComparisonConfig, load_comparison
from experiments.comparison.identity import code_version
from experiments.comparison.make_cell import make_cell
from experiments.comparison.measurement import METRICS
from experiments.comparison.methods import BASE
from experiments.comparison.workers import Bench
from motionmatcher.errors import DivergedError, NotFiniteError, UserError
from motionmatcher.tensor_files import read_description
from testbed.random_base import SMALL, write_random_base

FULL = PROJECT / "experiments/comparison.yaml"
NUM_CELLS = 2 + 3 + 3  # tuning, report, ablation


class InThisProcess(Executor):
    """Does the work at once; Ctrl-C comes before a piece of it."""

    def __init__(self, stop_before: int | None = None) -> None:
        self.count = 0
        self.stop_before = stop_before

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        if self.count == self.stop_before:
            raise KeyboardInterrupt
        self.count += 1
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def write_changes(folder: Path) -> Path:
    """The full comparison made as small as can be."""
    train_config = folder / "train.yaml"
    train_config.write_text(
        yaml.safe_dump(
            {
                "base": str(PROJECT / "configs/moving_shapes.yaml"),
                "lora_rank": 2,
                "lora_targets": ["attention"],
            }
        )
    )
    full = yaml.safe_load(FULL.read_text(encoding="utf-8"))
    values = {
        "train_config": str(train_config),
        "reference_dir": str(PROJECT / full["reference_dir"]),
        "cells_dir": str(folder / "cells"),
        "results_dir": str(folder),
        "methods": ["denoising", "feature_matching"],
        "steps": [1, 2],
        "prompts": full["prompts"][:2],
        "num_inference_steps": 2,
        "tuning": {"motions": ["there_and_back"], "learning_rates": [3e-3]},
        "report": {"motions": ["spiral"], "seeds": 1},
        "ablation": {"variants": [["lora_rank=1"]], "noise_priors": [0, 0.3]},
    }
    path = folder / "changes.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smaller than the other tests' base, for many videos are sampled here."""
    sizes = {
        **SMALL,
        "unet": {**SMALL["unet"], "block_out_channels": (32, 32)},
        "vae": {**SMALL["vae"], "block_out_channels": (4, 4, 4, 4), "norm_num_groups": 2},
    }
    return write_random_base(tmp_path_factory.mktemp("small_base"), sizes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="module")
def config(folder: Path) -> ComparisonConfig:
    return load_comparison(FULL, write_changes(folder))


@pytest.fixture(scope="module")
def made(config: ComparisonConfig, small_base: Path, folder: Path) -> dict[str, Any]:
    """Interrupted after three cells, and started again."""
    bench = script.open_bench(config, str(small_base))
    with pytest.raises(KeyboardInterrupt):
        script.compare(bench, InThisProcess(stop_before=3), "python -m this", 1)
    assert not (folder / "RESULTS.md").exists()
    kept = {path: path.stat().st_mtime_ns for path in (folder / "cells").glob("*.json")}
    rest = InThisProcess()
    outcome, summary = script.compare(bench, rest, "python -m this", 1)
    return {"bench": bench, "kept": kept, "rest": rest, "outcome": outcome, "summary": summary}


def test_finished_cells_are_kept_and_not_made_again(made: dict, folder: Path) -> None:
    assert len(made["kept"]) == 3
    assert made["rest"].count == NUM_CELLS - 3
    for path, time_written in made["kept"].items():
        assert path.stat().st_mtime_ns == time_written
    assert len(list((folder / "cells").glob("*.json"))) == NUM_CELLS
    assert not list((folder / "cells").glob(".training-*"))
    again = InThisProcess()
    script.compare(made["bench"], again, "python -m this", 1)
    assert again.count == 0


def test_results_are_written_for_reading_and_computing(made: dict, folder: Path) -> None:
    text = (folder / "RESULTS.md").read_text(encoding="utf-8")
    for words in (
        "not established",
        "noise prior 0.3 alone",
        "feature matching + noise prior 0.3",
        "`lora_rank=1`",
        "| resting object |",
        "fewest steps" if made["outcome"].choices["denoising"].steps == 1 else "most steps",
        "lowest learning rate, highest learning rate",
        "LoRA of rank 2 on `attention`",
        "arXiv:2006.11239",
        "steps of ddim, guidance",
        "a green star on a dotted white background",
        "| command | python -m this |",
    ):
        assert words in text
    assert "nan" not in text
    for name in ("error_against_leakage", "error_against_steps", "videos_spiral"):
        assert f"(results/{name}.png)" in text
        assert (folder / "results" / f"{name}.png").stat().st_size > 1000
    with (folder / "results/cells.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # Method x step x prior x prompt; base and methods; base and variants.
    assert len(rows) == 2 * 2 * 2 * 2 + (1 + 2 * 2) * 2 * 2 + 3 * 2 * 2
    assert set(METRICS) < set(rows[0])
    assert json.loads(json.dumps(made["summary"], allow_nan=False)) == made["summary"]


def test_outcome_is_the_mean_of_the_videos(made: dict, folder: Path) -> None:
    with (folder / "results/cells.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    outcome = made["outcome"]
    arm = next(arm for arm in outcome.arms if (arm.method, arm.noise_prior) == ("denoising", 0.3))
    errors = [
        float(row["path_error"])
        for row in rows
        if (row["stage"], row["method"], row["noise_prior"]) == ("report", "denoising", "0.3")
        and int(row["step"]) == arm.steps
    ]
    assert len(errors) == 2
    assert arm.metrics["path_error"].mean == pytest.approx(np.mean(errors), rel=1e-3)
    for method, choice in outcome.choices.items():
        assert choice.error == min(outcome.grid[method].values())
        assert len(outcome.grid[method]) == 2
    first_verdict = outcome.verdicts[0]
    assert "moves more like the reference than base" in first_verdict.claim
    # For each noise prior: base and noise prior alone, and two verdicts on the one pixel loss.
    assert len(outcome.verdicts) == 2 * (2 + 2)
    assert not any(verdict.holds for verdict in outcome.verdicts)  # one motion says nothing
    assert len(outcome.resting_verdicts) == 2
    assert "an object resting in the middle" in outcome.resting_verdicts[0].claim


def test_resting_object_is_the_mean_distance_from_the_middle(made: dict) -> None:
    folder = PROJECT / "resources/reference_videos"
    for motion, error in (
        ("spiral", made["outcome"].resting.metrics["path_error"].mean),
        ("there_and_back", made["outcome"].resting_grid_error),
    ):
        path = json.loads((folder / f"{motion}.json").read_text())["path"]
        expected = np.mean([math.hypot(x - 31.5, y - 31.5) for x, y in path])
        assert error == pytest.approx(expected)
    assert made["outcome"].resting.metrics["correlation"].mean == 0.0
    assert made["outcome"].resting.metrics["leakage"].mean is None


def test_a_cell_tells_its_identity_and_the_state_of_the_program(made: dict) -> None:
    job = made["bench"].job(tuning_cells(made["bench"].config)[0])
    result = json.loads(job.result.read_text())
    assert result["identity"] == json.loads(json.dumps(job.identity))
    assert result["identity"]["base"] == made["bench"].fingerprint
    assert result["code_version"] == code_version()
    assert (result["code_version"] or "unknown") in made["summary"]["made"]["commit"]


def test_references_are_kept_by_the_clips_content(made: dict, folder: Path) -> None:
    content = (PROJECT / "resources/reference_videos/spiral.mp4").read_bytes()
    kept = folder / "cells/references" / f"spiral-{hashlib.sha256(content).hexdigest()[:16]}"
    assert len(list(kept.glob("latents-*.safetensors"))) == 1


def test_a_cell_depends_on_nothing_but_itself(
    made: dict, config: ComparisonConfig, small_base: Path, tmp_path: Path
) -> None:
    bench: Bench = made["bench"]
    cell = tuning_cells(config)[-1]
    job = bench.job(cell)
    elsewhere = tmp_path / "cells" / job.result.name
    make_cell(type(job)(**{**vars(job), "result": elsewhere}))
    first, second = (json.loads(path.read_text()) for path in (job.result, elsewhere))
    assert first["videos"] == second["videos"]
    assert first["diverged"] is None
    assert first["training_seconds"] > 0


def test_a_cell_inverts_as_often_as_its_settings_say(
    made: dict, config: ComparisonConfig, tmp_path: Path
) -> None:
    variant = ("validation_data.inversion_iterations=2",)
    cell = dataclasses.replace(tuning_cells(config)[0], method=BASE, variant=variant, steps=(0,))
    job = dataclasses.replace(made["bench"].job(cell), result=tmp_path / "cells" / "result.json")
    make_cell(job)
    (file,) = (tmp_path / "cells" / "references").glob("*/inversion-*.safetensors")
    assert read_description(file)["iterations"] == 2


def test_a_training_that_diverges_counts_as_videos_of_nothing(
    made: dict, config: ComparisonConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(**_: Any) -> bool:
        raise DivergedError("the loss is nan at step 1")

    monkeypatch.setattr("experiments.comparison.make_cell.train", diverge)
    job = made["bench"].job(tuning_cells(config)[0])
    elsewhere = tmp_path / "cells" / job.result.name
    make_cell(type(job)(**{**vars(job), "result": elsewhere}))
    result = json.loads(elsewhere.read_text())
    assert result["diverged"] == "the loss is nan at step 1"
    assert len(result["videos"]) == 2 * 2 * 2
    assert result["videos"][0]["path"] == [[None, None]] * 8
    assert result["videos"][0]["color"] == ""


def test_videos_that_explode_count_as_videos_of_nothing_unless_they_are_the_base_s(
    made: dict, config: ComparisonConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: Any) -> Any:
        raise NotFiniteError("NaN or infinity in the generated latents")

    monkeypatch.setattr("experiments.comparison.make_cell.sample_latents", explode)
    job = made["bench"].job(tuning_cells(config)[0])
    job = dataclasses.replace(job, result=tmp_path / "cells" / "cell.json")
    make_cell(job)
    result = json.loads(job.result.read_text())
    assert result["diverged"] is None
    assert all(video["path"] == [[None, None]] * 8 for video in result["videos"])

    monkeypatch.setattr("experiments.comparison.make_cell.train", lambda **_: True)
    of_the_base = dataclasses.replace(job, cell=dataclasses.replace(job.cell, steps=(0,)))
    with pytest.raises(NotFiniteError):
        make_cell(of_the_base)


def test_no_other_error_counts_as_divergence(
    made: dict, config: ComparisonConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> bool:
        raise UserError("the clip is gone")

    monkeypatch.setattr("experiments.comparison.make_cell.train", fail)
    job = made["bench"].job(tuning_cells(config)[0])
    elsewhere = dataclasses.replace(job, result=tmp_path / "cell.json")
    with pytest.raises(UserError, match="the clip is gone"):
        make_cell(elsewhere)
    assert not elsewhere.result.exists()


def test_a_base_that_changes_meanwhile_is_refused(
    made: dict, config: ComparisonConfig, tmp_path: Path
) -> None:
    job = made["bench"].job(tuning_cells(config)[0])
    changed = dataclasses.replace(
        job, identity={**job.identity, "base": "other"}, result=tmp_path / "cell.json"
    )
    with pytest.raises(UserError, match="was changed while the comparison ran"):
        make_cell(changed)
    assert not changed.result.exists()


def test_program_goes_on_from_the_cells_there_are(
    made: dict,
    folder: Path,
    small_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    merged = yaml.safe_load(FULL.read_text()) | yaml.safe_load(
        (folder / "changes.yaml").read_text()
    )
    merged["tuning"] |= {"seeds": 1, "grid_reason": "What was tried."}
    merged["ablation"]["seeds"] = 1
    (folder / "whole.yaml").write_text(yaml.safe_dump(merged))
    words = ["--config", folder / "whole.yaml", "--base", small_base]
    assert run_script(monkeypatch, script.main, *words, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert (
        f"0.0 hours left with 2 workers of one thread; seconds measured on {NUM_CELLS}" in printed
    )
    summary = folder / "summary.json"
    assert run_script(monkeypatch, script.main, *words, "--workers", "1", "--json", summary) == 0
    assert "feature matching leaks less than denoising loss" in capsys.readouterr().out
    assert "The grid: What was tried. A choice" in (folder / "RESULTS.md").read_text()
    header = json.loads(summary.read_text())["made"]
    # Names, not this machine's folders.
    assert header["command"] == (
        f"python -m experiments.compare --config whole.yaml --base {small_base.name} --workers 1"
    )
    assert header["base"].startswith(f"`{small_base.name}`, fingerprint ")


def test_full_comparison_is_planned_for_an_hour_and_a_half(
    small_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(PROJECT)
    bench = script.open_bench(load_comparison(FULL), str(small_base))
    script.print_plan(bench, workers=2)
    hours = float(capsys.readouterr().out.rpartition("\n")[0].splitlines()[-1].split()[0])
    assert 1 <= hours <= 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "0"], "argument --workers: '0' is not a whole number from 1 to 1024"),
        (["--quik"], "unknown flag --quik. Did you mean '--quick'?"),
        (["--base", "/nowhere"], "/nowhere"),
        (["--config", "none.yaml"], "none.yaml: there is no such file"),
    ],
)
def test_wrong_command_lines_are_refused(
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(PROJECT)
    assert run_script(monkeypatch, script.main, *words) == 2
    assert message in capsys.readouterr().err
