"""The comparison from end to end, on a small base with random weights.

Decisions and tuning are made up, which saves time; the report's cells are trained and sampled.
"""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from comparison_examples import write_result
from launching import PROJECT, run_script

from experiments.compare.__main__ import main
from experiments.compare.cells import Cell
from motionmatcher.command_line import INTERRUPTED
from testbed.measurement import METRICS

FULL = PROJECT / "experiments/compare/unet.yaml"
METHODS = ["denoising", "feature_matching"]
# The tuning's base, two options, two methods in two regimes; the report's base and the same again.
REPORTED = "spiral"
NUM_CELLS = 1 + 2 + 4 + (1 + 4)


def made_up(cell: Cell, step: int, noise_prior: float) -> dict[str, float]:
    """Rank 2 is nearer than 1; gated, two steps are nearer than one, and open they are not."""
    rank = 1.0 if "lora_rank=2" in cell.changes else 2.0
    return {"path_error": 10.0 + rank + (step if cell.regime == "open" else -step)}


class InThisProcess(Executor):
    """Does the report's work at once, and makes up the rest; Ctrl-C comes before a piece of it."""

    def __init__(self, stop_before: int | None = None) -> None:
        self.count = 0
        self.stop_before = stop_before

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        if self.count == self.stop_before:
            raise KeyboardInterrupt
        self.count += 1
        (job,) = args
        if job.cell.motion == REPORTED:
            fn(job)
        else:
            write_result(job, made_up)
        future: Future = Future()
        future.set_result(None)
        return future


def write_settings(folder: Path) -> Path:
    """What ships, made as small as can be."""
    shared = {"base": str(PROJECT / "configs/moving_shapes.yaml"), "lora_targets": ["attention"]}
    (folder / "train.yaml").write_text(yaml.safe_dump(shared), encoding="utf-8")
    values = yaml.safe_load(FULL.read_text(encoding="utf-8"))
    grid = {"methods": METHODS, "learning_rates": [3e-3], "steps": [1, 2]}
    values |= {
        "train_config": str(folder / "train.yaml"),
        "reference_dir": str(PROJECT / values["reference_dir"]),
        "cells_dir": str(folder / "cells"),
        "results_dir": str(folder / "results"),
        "prompts": values["prompts"][:1],
        "num_inference_steps": 2,
    }
    options = [["lora_rank=1"], ["lora_rank=2"]]
    values["decide"] |= {"steps": 1, "decisions": [{"name": "rank", "options": options}]}
    values["tuning"] |= {
        "motions": ["there_and_back"],
        "inside": False,
        "grids": [{**grid, "regime": regime} for regime in ("gated", "open")],
    }
    values["report"] |= {"motions": [REPORTED], "curve_steps": [1]}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@dataclass
class Comparison:
    """A whole comparison on disk, and how it came about."""

    folder: Path
    base: Path
    codes: tuple[int, int]  # interrupted, and started again
    kept: dict[Path, int]  # cells of the first, with their times
    rest: int  # cells that the second one made

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def run(self, pool: Executor, *words: object) -> int:
        @contextmanager
        def in_this_process(workers: int) -> Iterator[Executor]:
            yield pool

        common = ["--config", self.folder / "small.yaml", "--base", self.base]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("experiments.jobs.workers.worker_pool", in_this_process)
            return run_script(patch, main, *common, *words)


@pytest.fixture(scope="module")
def made(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Interrupted in its tuning, and started again."""
    folder = tmp_path_factory.mktemp("comparison")
    write_settings(folder)
    comparison = Comparison(folder, tiny_base, (0, 0), {}, 0)
    first = comparison.run(InThisProcess(stop_before=4))
    assert not comparison.results.exists()
    comparison.kept = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*.json")}
    rest = InThisProcess()
    second = comparison.run(rest, "--json", folder / "claim.json")
    comparison.codes, comparison.rest = (first, second), rest.count
    return comparison


def read_rows(made: Comparison) -> list[dict[str, str]]:
    with (made.results / "cells.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_finished_cells_are_kept_and_not_made_again(made: Comparison) -> None:
    assert made.codes == (INTERRUPTED, 0)
    assert len(made.kept) == 4
    assert made.rest == NUM_CELLS - 4
    for path, time_written in made.kept.items():
        assert path.stat().st_mtime_ns == time_written
    assert len(list(made.folder.glob("cells/*.json"))) == NUM_CELLS
    assert not list(made.folder.glob("cells/.training-*"))


def test_every_video_has_a_row(made: Comparison) -> None:
    rows = read_rows(made)
    counts = Counter(row["stage"] for row in rows)
    # An object at rest, and the base with both noise priors; steps 1 and 2 of four trainings.
    assert counts["tuning"] == 1 + 2 + 2 * 2 * 2
    assert counts["decide rank"] == 2
    # The chosen step, which is the curve's own, with both noise priors.
    assert counts["report"] == 1 + 2 + 2 * (2 + 2)
    assert set(METRICS) < set(rows[0])


def test_what_was_decided_and_tuned_is_what_is_reported(made: Comparison) -> None:
    found = {
        (row["method"], row["regime"], row["caption"], row["changes"], row["step"])
        for row in read_rows(made)
        if row["stage"] == "report" and row["noise_prior"] == "0.3" and row["regime"]
    }
    assert found == {
        (method, *condition, "lora_rank=2", "1")  # two steps are hardly better than one
        for method in METHODS
        for condition in (("gated", "full"), ("open", "unsaid"))
    }


def test_each_regime_was_trained_by_the_ordinary_trainer(made: Comparison) -> None:
    trained = {}
    for path in made.folder.glob("cells/*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        settings, cell = content["identity"]["settings"], content["cell"]
        if any("run folder:" in line for line in content["printed"]):
            trained[cell["method"], cell["regime"]] = (
                settings.get("min_timestep", 500),
                settings["train_data"]["single_video_prompt"],
            )
    full = "a green square on a plain gray background"
    assert trained == {
        (method, regime): how
        for method in METHODS
        for regime, how in (("gated", (500, full)), ("open", (1, "a square")))
    }


def test_results_are_written_for_reading_and_computing(made: Comparison) -> None:
    text = (made.results / "RESULTS.md").read_text(encoding="utf-8")
    for words in (
        "A small trial of the program",
        "0 of 8 parts",  # one motion says nothing
        "noise prior 0.3 alone",
        "feature matching + noise prior 0.3",
        "| resting object |",
        "lowest learning rate, highest learning rate, fewest steps",
        f"| base | `{made.base.name}`, fingerprint ",
        f"| cells | {NUM_CELLS}, ",
        " steps of ddim, guidance 5 |",
    ):
        assert words in text
    assert "nan" not in text
    for name in ("gated_full", "open_unsaid", "videos_spiral"):
        assert (made.results / f"{name}.png").stat().st_size > 1000
    claim = json.loads((made.folder / "claim.json").read_text(encoding="utf-8"))
    assert [part["letter"] for part in claim["parts"]] == ["a"] * 8 + ["b"] + ["c"] * 2
    assert not any(part["holds"] for part in claim["parts"])


def test_results_are_written_again_from_the_rows_alone(made: Comparison, tmp_path: Path) -> None:
    written = (made.results / "RESULTS.md").read_bytes()
    picture = made.results / "gated_full.png"
    cells = shutil.move(made.folder / "cells", tmp_path / "cells")
    try:
        (made.results / "RESULTS.md").unlink()
        picture.unlink()
        assert made.run(InThisProcess(stop_before=0), "--analyse") == 0
        assert not (made.folder / "cells").exists()
    finally:
        shutil.move(cells, made.folder / "cells")
    assert (made.results / "RESULTS.md").read_bytes() == written
    assert picture.is_file()


def test_a_plan_of_what_is_made_has_nothing_left(
    made: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made.run(InThisProcess(stop_before=0), "--dry-run") == 0
    *stages, total = capsys.readouterr().out.splitlines()[1:]
    counts = [line.split()[-5:] for line in stages]
    assert [count[:2] for count in counts] == [["1", "1"], ["2", "2"], ["4", "4"], ["5", "5"]]
    assert total == "hours left: 0.0, with 2 workers of one thread, by the cells made"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "0"], "argument --workers: '0' is not a whole number from 1 to 1024"),
        (["--quik"], "unknown flag --quik. Did you mean '--quick'?"),
        (["--base", "/nowhere"], "/nowhere"),
        (["--config", "none.yaml"], "none.yaml: there is no such file"),
        (["--quick", "--analyse"], "results/cells.csv cannot be read"),
    ],
)
def test_wrong_command_lines_are_refused(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_script(monkeypatch, main, *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
