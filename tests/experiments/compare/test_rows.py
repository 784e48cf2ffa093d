"""Rows of `cells.csv`: of cells, written and read again."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from comparison_examples import make_row

from experiments.compare.analysis import tune
from experiments.compare.config import ComparisonConfig
from experiments.compare.rows import read_rows, resting_rows, rows_of, write_rows
from motionmatcher.errors import UserError
from testbed.measurement import METRICS, resting_object_metrics
from testbed.truth import read_truth

RESULT: dict[str, Any] = {
    "cell": {
        "method": "vmc",
        "motion": "spiral",
        "seed": 1,
        "samplings": ((50, 0.0), (50, 0.3)),
        "regime": "open",
        "caption": "unsaid",
        "changes": ("feature_loss=log", "lora_rank=8"),
        "learning_rate": 1.25e-3,
        "kept_step": None,
    },
    "videos": [
        {
            "step": 50,
            "noise_prior": noise_prior,
            "prompt": 2,
            "sample": 0,
            "metrics": {"path_error": 21.603833992111184, "leakage": 1 / 3},
        }
        for noise_prior in (0.0, 0.3)
    ],
}


def test_a_cell_has_a_row_per_video() -> None:
    first, second = rows_of("report", [RESULT])
    assert first.stage == "report"
    assert (first.method, first.motion, first.seed) == ("vmc", "spiral", 1)
    assert (first.regime, first.caption) == ("open", "unsaid")
    assert first.changes == "feature_loss=log; lora_rank=8"
    assert (first.learning_rate, first.step, first.prompt, first.sample) == (1.25e-3, 50, 2, 0)
    assert (first.noise_prior, second.noise_prior) == (0.0, 0.3)
    assert tuple(first.metrics) == METRICS
    assert (first.metrics["path_error"], first.metrics["leakage"]) == (21.6, 0.3333)
    assert math.isnan(first.metrics["camera_error"])  # which the video does not have
    shared = dataclasses.replace(first, learning_rate=math.nan)
    of_cell = {**RESULT["cell"], "learning_rate": None, "changes": ()}
    (found, _) = rows_of("report", [{**RESULT, "cell": of_cell}])
    assert str(found) == str(dataclasses.replace(shared, changes=""))


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [
        *rows_of("decide loss", [RESULT]),
        make_row("report", "base", "spiral", leakage=math.nan, learning_rate=math.nan),
        make_row("report", "base", "spiral", learning_rate=0.00123456, noise_prior=0.123456),
    ]
    write_rows(tmp_path / "cells.csv", rows)
    again = read_rows(tmp_path / "cells.csv")
    assert list(map(str, again)) == list(map(str, rows))  # NaN is none, but reads alike
    write_rows(tmp_path / "again.csv", again)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "cells.csv").read_bytes()
    header, first, *_ = (tmp_path / "cells.csv").read_text().splitlines()
    assert header == (
        "stage,method,regime,caption,changes,learning_rate,motion,seed,step,noise_prior,prompt,sample,"
        + ",".join(METRICS)
    )
    assert first.startswith(
        "decide loss,vmc,open,unsaid,feature_loss=log; lora_rank=8,0.00125,spiral,1,50,0,2,0,21.6,,"
    )


def test_the_file_tells_the_same_choice_as_the_cells(tmp_path: Path) -> None:
    # Before rounding 100 steps are nearer, after it 50 are as near.
    def result(step: int, error: float) -> dict:
        video = {**RESULT["videos"][0], "step": step, "metrics": {"path_error": error}}
        return {"cell": RESULT["cell"], "videos": [video]}

    rows = rows_of("tuning", [result(50, 8.00004), result(100, 8.00003)])
    write_rows(tmp_path / "cells.csv", rows)
    (of_cells,), (of_file,) = tune(rows), tune(read_rows(tmp_path / "cells.csv"))
    assert of_cells.choice == of_file.choice
    assert of_cells.choice.steps == 50


def test_an_object_at_rest_has_a_row_for_each_motion_and_prompt(config: ComparisonConfig) -> None:
    rows = resting_rows("report", config, ["spiral", "swing"])
    assert [(row.motion, row.prompt) for row in rows] == [
        ("spiral", 0),
        ("spiral", 1),
        ("swing", 0),
        ("swing", 1),
    ]
    wanted = resting_object_metrics(read_truth(config.clip("swing")))
    assert rows[2].metrics["path_error"] == pytest.approx(wanted["path_error"], rel=1e-3)
    assert rows[2].metrics["correlation"] == 0.0
    assert math.isnan(rows[2].metrics["leakage"])
    assert {(row.stage, row.method) for row in rows} == {("report", "resting_object")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cells\.csv cannot be read: "),
        (b"\xff\xfe", r"cells\.csv cannot be read: "),
        (b"", r"cells\.csv is no cells\.csv of a comparison: its columns are others"),
        (b"stage,method\ntuning,vmc\n", "its columns are others"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "cells.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_rows(tmp_path / "cells.csv")
