"""Which cells are made, by what their files are named, and what becomes of those that fail."""

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from comparison_examples import MadeUp, made_up_metrics
from launching import PROJECT

from experiments.compare.bench import Bench, open_bench
from experiments.compare.cells import Cell, cell_settings, tuning_cells
from experiments.compare.config import ComparisonConfig, DecisionConfig
from experiments.compare.methods import BASE
from experiments.compare.stages import Stage, walk
from motionmatcher.errors import UserError

CELL = Cell("vmc", "spiral", 0, ((50, 0.0),), "gated", "full", (), 3e-3)
MATCHING = dataclasses.replace(CELL, method="feature_matching")
BASE_CELL = Cell(BASE, "spiral", 0, ((0, 0.0), (0, 0.3)))
# Base and resting object, the decision, the tuning and the report of one motion each.
NUM_CELLS = 1 + 2 + 2 * 2 + (1 + 2 * 2)


@pytest.fixture
def bench_on(base_folder: Path) -> Callable[[ComparisonConfig], Bench]:
    def open_on_base(config: ComparisonConfig) -> Bench:
        return open_bench(config, str(base_folder))

    return open_on_base


@pytest.fixture
def bench(config: ComparisonConfig, bench_on: Callable[[ComparisonConfig], Bench]) -> Bench:
    return bench_on(config)


def make_all(bench: Bench, pool: MadeUp) -> list[Stage]:
    return list(walk(bench, partial(bench.make, pool=pool)))


def file_name(bench: Bench, cell: Cell, *changes: str, **of_config: Any) -> str:
    """The file of a cell's result, with changes of the shared settings or the comparison's."""
    other = Bench(dataclasses.replace(bench.config, **of_config), bench.base_folder, bench.layout)
    other.fingerprint = bench.fingerprint
    return other.job(dataclasses.replace(cell, changes=changes)).result.name


def test_a_result_is_named_by_all_it_depends_on(bench: Bench) -> None:
    other_base = Bench(bench.config, bench.base_folder, bench.layout)
    other_base.fingerprint = "another"
    replace = partial(dataclasses.replace, CELL)
    names = [
        file_name(bench, CELL),
        other_base.job(CELL).result.name,
        file_name(bench, replace(seed=1)),
        file_name(bench, replace(motion="swing")),
        file_name(bench, replace(samplings=((50, 0.0), (100, 0.0)))),
        file_name(bench, replace(samplings=((50, 0.3),))),
        file_name(bench, replace(method="motiondirector")),
        file_name(bench, replace(regime="open")),
        file_name(bench, replace(caption="unsaid")),
        file_name(bench, replace(learning_rate=1e-2)),
        file_name(bench, replace(kept_step=50)),  # which adds a file
        file_name(bench, CELL, num_inference_steps=20),
        file_name(bench, CELL, prompts=bench.config.prompts[:1]),
        file_name(bench, CELL, samples=2),
        file_name(bench, CELL, batch_size=2),
        file_name(bench, CELL, gate=600),
        file_name(bench, CELL, "lora_rank=8"),
        file_name(bench, CELL, "lora_targets=attention"),
        file_name(bench, CELL, "validation_data.guidance_scale=3"),
        file_name(bench, CELL, "flow_shift=2"),
    ]
    assert len(set(names)) == len(names)
    assert file_name(bench, CELL) == names[0]
    assert names[0].startswith("vmc-gated-full-spiral-0-")
    assert file_name(bench, BASE_CELL).startswith("base-spiral-0-")


@pytest.mark.parametrize(
    "change",
    [
        "validation_steps=7",
        "logger_type=wandb",
        "validation_data.noise_prior=0.9",
        "validation_data.prompt=[a red star]",
        "checkpoints_total_limit=1",
        "max_train_steps=7",
        "output_dir=elsewhere",
        "save_pretrained_model=true",
    ],
)
def test_settings_without_effect_leave_results_as_they_are(bench: Bench, change: str) -> None:
    for cell in (CELL, BASE_CELL):
        assert file_name(bench, cell, change) == file_name(bench, cell)


def test_settings_of_training_leave_the_base_as_it_is(bench: Bench) -> None:
    for change in ("learning_rate=1e-2", "lora_rank=8", "motion_extractor.mode=tangent"):
        assert file_name(bench, BASE_CELL, change) == file_name(bench, BASE_CELL)
    for change in ("flow_shift=2", "validation_data.guidance_scale=3"):
        assert file_name(bench, BASE_CELL, change) != file_name(bench, BASE_CELL)


def test_settings_of_feature_matching_leave_pixel_losses_as_they_are(bench: Bench) -> None:
    for change in (
        "motion_extractor.num_denoise_steps=5",
        "loss_weights.spatial_loss=1",
        "feature_loss=log",
    ):
        assert file_name(bench, CELL, change) == file_name(bench, CELL)
        assert file_name(bench, MATCHING, change) != file_name(bench, MATCHING)


def test_values_tuned_later_leave_results_that_state_their_own(
    bench: Bench, config: ComparisonConfig, tmp_path: Path
) -> None:
    tuned = tmp_path / "tuned.yaml"
    values = {"base": str(PROJECT / config.train_config), "learning_rate": 1e-2}
    values |= {"max_train_steps": 400, "validation_data": {"noise_prior": 0.1}}
    tuned.write_text(yaml.safe_dump(values), encoding="utf-8")
    shared_rate = dataclasses.replace(MATCHING, learning_rate=None)
    for cell, same in ((CELL, True), (MATCHING, True), (BASE_CELL, True), (shared_rate, False)):
        later = file_name(bench, cell, train_config=str(tuned))
        assert (later == file_name(bench, cell)) == same


def test_a_clip_rendered_anew_is_another(
    bench: Bench, config: ComparisonConfig, tmp_path: Path
) -> None:
    for file in Path(config.reference_dir).glob("spiral.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    elsewhere = partial(file_name, bench, reference_dir=str(tmp_path))
    assert elsewhere(CELL) == file_name(bench, CELL)  # wherever it lies
    with (tmp_path / "spiral.mp4").open("ab") as clip:
        clip.write(b"more")
    for cell in (CELL, BASE_CELL):
        assert elsewhere(cell) != file_name(bench, cell)


def test_keys_at_their_default_have_no_part_in_an_identity(bench: Bench) -> None:
    of_data = {"width": 64, "height": 64, "n_sample_frames": 8}
    of_videos = {
        "sample_preview": False,
        "include_training_prompt": True,
        "noise_prior": 0.0,
        "num_frames": 8,
        "width": 64,
        "height": 64,
        "num_inference_steps": 12,
        "guidance_scale": 5,
    }
    prompt = {"single_video_prompt": "a green square on a plain gray background"}
    assert bench.job(CELL).identity["settings"] == {
        "train_data": prompt | of_data,
        "validation_data": of_videos,
        "objective": "vmc",
        "lora_targets": ["attention", "temporal_conv"],
        "learning_rate": 3e-3,
        "lr_scheduler": "constant_with_warmup",
        "lr_warmup_steps": 10,
        "adam_weight_decay": 0,
        "adam_epsilon": 1e-16,
        "max_train_steps": 50,
        "mixed_precision": "no",
    }
    assert bench.job(BASE_CELL).identity["settings"] == {
        "train_data": prompt | of_data,
        "validation_data": of_videos,
    }


def test_a_comparison_walks_through_its_stages(bench: Bench) -> None:
    pool = MadeUp()
    stages = make_all(bench, pool)
    assert [stage.name for stage in stages] == ["tuning", "decide loss", "tuning", "report"]
    assert [len(stage.cells) for stage in stages] == [1, 2, 4, 5]
    assert len(pool.made) == NUM_CELLS
    again = MadeUp()
    assert [len(stage.rows) for stage in make_all(bench, again)] == [4 + 2, 4, 16, 28 + 2]
    assert not again.made


def test_what_was_decided_and_chosen_is_in_the_cells_that_follow(bench: Bench) -> None:
    def metrics(cell: Cell, step: int, noise_prior: float) -> dict[str, float]:
        made_up = made_up_metrics(cell, step, noise_prior)
        better = 1.0 if "feature_loss=log" in cell.changes else 0.0
        worse = step if (cell.method, cell.regime) == ("denoising", "open") else 0.0
        return made_up | {"path_error": made_up["path_error"] - better + worse}

    *_, tuning, report = make_all(bench, MadeUp(metrics=metrics))
    for stage in (tuning, report):
        changes = {cell.method: cell.changes for cell in stage.cells}
        assert changes["feature_matching"] == ("feature_loss=log",)
        assert changes["denoising"] == ()
    chosen = {(cell.method, cell.regime): cell.kept_step for cell in report.cells}
    assert chosen["feature_matching", "gated"] == chosen["feature_matching", "open"] == 100
    assert chosen["denoising", "gated"] == 100
    assert chosen["denoising", "open"] == 50


def test_options_that_come_to_the_same_settings_are_made_once_and_told_apart(
    bench: Bench, config: ComparisonConfig, bench_on: Callable[[ComparisonConfig], Bench]
) -> None:
    decisions = [
        DecisionConfig(name="loss", options=[["feature_loss=squared"], ["feature_loss=log"]]),
        DecisionConfig(name="rank", options=[["lora_rank=32"], ["lora_rank=8"]]),
    ]
    decide = dataclasses.replace(config.decide, decisions=decisions)
    bench = bench_on(dataclasses.replace(config, decide=decide))
    pool = MadeUp()
    stages = make_all(bench, pool)
    # Squared is chosen, of equals the first, and 32 is the default: that cell is there already.
    assert len(pool.made) == NUM_CELLS + 1
    assert [row.changes for row in stages[2].rows[::2]] == [
        "feature_loss=squared; lora_rank=32",
        "feature_loss=squared; lora_rank=8",
    ]
    assert stages[3].cells[-1].changes == ("feature_loss=squared", "lora_rank=32")


def test_a_choice_at_the_edge_is_refused_where_the_config_wants_it_inside(
    bench: Bench, config: ComparisonConfig, bench_on: Callable[[ComparisonConfig], Bench]
) -> None:
    inside = bench_on(
        dataclasses.replace(config, tuning=dataclasses.replace(config.tuning, inside=True))
    )
    pool = MadeUp()
    with pytest.raises(
        UserError,
        match=r"^the tuning ended at its grids' edges \(denoising loss \(gated\): lowest learning rate, "
        r"highest learning rate, most steps; .*feature matching \(open\).*\): extend them in "
        r"tuning\.grids; what is made is kept\.$",
    ):
        make_all(inside, pool)
    assert len(pool.made) == NUM_CELLS - 5  # all but the report
    make_all(bench, MadeUp())


def test_a_plan_counts_what_is_left(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    def plan(workers: int = 1) -> list[list[str]]:
        stages = [(stage.name, stage.cells) for stage in walk(bench, bench.results)]
        bench.print_plan(stages, workers)
        *lines, total = capsys.readouterr().out.splitlines()
        return [*(line.split() for line in lines), [total]]

    # cells, made, steps, videos: two prompts, two steps; the report has two noise priors.
    assert plan()[1:] == [
        ["tuning", "1", "0", "0", "4", "?"],
        ["decide", "loss", "2", "0", "100", "4", "?"],
        ["tuning", "4", "0", "400", "16", "?"],
        ["report", "5", "0", "400", "28", "?"],
        ["hours left: unknown, with 1 workers of one thread, by the cells made"],
    ]
    stages = walk(bench, partial(bench.make, pool=MadeUp()))
    for _ in range(3):
        next(stages)
    # 1 s a step and 10 s a video: 400 s and 280 s; the chosen step is 100, beside 50.
    first, tuned = plan()[1], plan(workers=2)[4:]
    assert first == ["tuning", "1", "1", "0", "4", "0.00"]
    assert tuned[0] == ["report", "5", "0", "400", "28", f"{680 / 3600 / 2:.2f}"]
    assert tuned[1] == ["hours left: 0.1, with 2 workers of one thread, by the cells made"]


def test_settings_that_come_twice_are_planned_once(
    config: ComparisonConfig,
    bench_on: Callable[[ComparisonConfig], Bench],
    capsys: pytest.CaptureFixture[str],
) -> None:
    loss = config.decide.decisions[0]
    rank = DecisionConfig(name="rank", options=[["lora_rank=32"], ["lora_rank=8"]])
    decide = dataclasses.replace(config.decide, decisions=[loss, rank])
    bench = bench_on(dataclasses.replace(config, decide=decide))
    bench.print_plan([(stage.name, stage.cells) for stage in walk(bench, bench.results)], 1)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[3][:3] == ["decide", "rank", "1"]


def test_a_half_made_decision_decides_nothing_yet(
    bench: Bench, config: ComparisonConfig, bench_on: Callable[[ComparisonConfig], Bench]
) -> None:
    make_all(bench, MadeUp())
    more = DecisionConfig(name="loss", options=[["feature_loss=log"], ["feature_loss=relative"]])
    rank = DecisionConfig(name="rank", options=[["feature_loss=log"]])
    decide = dataclasses.replace(config.decide, decisions=[more, rank])
    later = bench_on(dataclasses.replace(config, decide=decide))
    stages = list(walk(later, later.results))
    assert len(stages[1].rows) == 2
    assert stages[3].cells[-1].changes == ("feature_loss=log",)


def test_a_cell_that_fails_stops_no_other_and_is_named_in_the_end(
    bench: Bench, tmp_path: Path
) -> None:
    def fails(cell: Cell) -> BaseException | None:
        wrong = (cell.method, cell.regime, cell.motion) == ("denoising", "gated", "swing")
        return ValueError("a bug\nof two lines") if wrong else None

    with pytest.raises(
        UserError,
        match=r"^1 cells could not .*cells, with tracebacks in .*; the same command tries again\. "
        r"denoising-gated-full-swing-0: ValueError: a bug of two lines$",
    ):
        make_all(bench, MadeUp(fails))
    cells = tmp_path / "cells"
    assert len(list(cells.glob("*.json"))) == NUM_CELLS - 5 - 1  # without the report
    (trace,) = cells.glob("*.traceback.txt")
    assert "ValueError: a bug" in trace.read_text()
    pool = MadeUp()
    make_all(bench, pool)
    assert len(pool.made) == 5 + 1
    assert not trace.exists()


def test_an_error_of_the_user_leaves_no_traceback(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^1 cells .* base-swing-0: UserError: no memory$"):
        make_all(bench, MadeUp(lambda _: UserError("no memory")))
    assert not list((tmp_path / "cells").glob("*.traceback.txt"))  # its line says it all


def test_an_interruption_in_a_worker_is_no_failure_of_a_cell(bench: Bench) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_all(bench, MadeUp(lambda _: KeyboardInterrupt()))


def test_a_killed_worker_is_told(bench: Bench) -> None:
    with pytest.raises(UserError, match=r"a worker was killed, .* fewer --workers"):
        make_all(bench, MadeUp(lambda _: BrokenProcessPool()))


def test_provenance_adds_up_the_cells(bench: Bench, config: ComparisonConfig) -> None:
    cells = tuning_cells(config, ())
    bench.make(cells, MadeUp())
    diverged = bench.job(cells[0]).result
    content = json.loads(diverged.read_text())
    diverged.write_text(
        json.dumps(content | {"diverged": "the loss is nan", "training_seconds": 5})
    )
    made = bench.provenance([*cells, cells[0]])
    # Three trainings of 100 steps, and 4 x 2 x 2 videos of 10 s.
    assert made["cells"] == (
        f"4, 300 training steps, 16 videos, {(305 + 160) / 3600:.2f} core-hours; 1 trainings diverged"
    )
    assert made["seconds per step"] == "denoising loss 1.00, feature matching 1.00"
    assert made["base"] == f"`{Path(str(bench.base_folder)).name}`, fingerprint {bench.fingerprint}"


def test_a_missing_base_is_told(config: ComparisonConfig) -> None:
    with pytest.raises(UserError, match="/nowhere"):
        open_bench(config, "/nowhere")


def test_cells_of_another_base_are_others(bench: Bench, config: ComparisonConfig) -> None:
    assert bench.job(CELL).settings == cell_settings(config, bench.base_folder, CELL)
    shipped = open_bench(config, None)
    assert shipped.fingerprint != bench.fingerprint
    assert shipped.job(CELL).result.name != bench.job(CELL).result.name
