"""Cells: what is made of the settings, and what is refused."""

import dataclasses

import pytest

from experiments.compare.cells import (
    Cell,
    Choice,
    any_choices,
    base_cells,
    cell_settings,
    check_motions,
    decision_cells,
    report_cells,
    tuning_cells,
)
from experiments.compare.config import ComparisonConfig
from experiments.compare.methods import BASE, TRAINED
from motionmatcher.errors import UserError

LOG = ("feature_loss=log", "loss_weights.spatial_loss=1")
CELL = Cell("vmc", "spiral", 0, ((50, 0.0),), "gated", "full", (), 3e-3)


def with_all_methods(full: ComparisonConfig) -> ComparisonConfig:
    grids = [dataclasses.replace(grid, methods=list(TRAINED)) for grid in full.tuning.grids]
    tuning = dataclasses.replace(full.tuning, grids=grids)
    return dataclasses.replace(full, tuning=tuning)


def test_options_are_tried_on_the_tuning_motions_with_what_was_decided(
    full: ComparisonConfig,
) -> None:
    cells = decision_cells(full, LOG, [[], ["lora_rank=8"]])
    assert len(cells) == 2 * 4 * full.decide.seeds
    assert {cell.changes for cell in cells} == {LOG, (*LOG, "lora_rank=8")}
    assert {cell.motion for cell in cells} == set(full.tuning.motions)
    for cell in cells:
        assert (cell.method, cell.regime, cell.caption) == ("feature_matching", "", "unsaid")
        assert (cell.samplings, cell.learning_rate) == (((full.decide.steps, 0.0),), None)


def test_tuning_has_all_of_each_method_s_grid(full: ComparisonConfig) -> None:
    own = dataclasses.replace(
        full.tuning.grids[0], methods=["denoising"], learning_rates=[5e-3], steps=[10, 20]
    )
    others = dataclasses.replace(full.tuning.grids[0], methods=full.tuning.grids[0].methods[1:])
    grids = [own, others, full.tuning.grids[1]]
    config = dataclasses.replace(full, tuning=dataclasses.replace(full.tuning, grids=grids))
    cells = tuning_cells(config, ())
    found = [c for c in cells if (c.method, c.regime) == ("denoising", "gated")]
    assert [cell.motion for cell in found] == full.tuning.motions
    for cell in found:
        assert cell.learning_rate == 5e-3
        assert cell.samplings == ((10, 0.0), (20, 0.0))
        assert cell.steps == (10, 20)
    assert len(cells) == 4 * (1 + 3 * 3 + 4 * 3)
    assert {cell.caption for cell in cells} == {"full"}


def test_a_further_grid_extends_the_first(full: ComparisonConfig) -> None:
    first = full.tuning.grids[0]
    further = dataclasses.replace(
        first, methods=["denoising"], learning_rates=[8e-3], steps=[400, 500]
    )
    tuning = dataclasses.replace(full.tuning, grids=[*full.tuning.grids, further])
    config = dataclasses.replace(full, tuning=tuning)
    more = set(tuning_cells(config, ())) - set(tuning_cells(full, ()))
    assert {(c.method, c.regime, c.learning_rate, c.steps) for c in more} == {
        ("denoising", "gated", 8e-3, (400, 500))
    }
    assert len(more) == len(full.tuning.motions)
    assert any_choices(config) == any_choices(full)


def test_decisions_hold_where_they_are_no_matter_of_the_loss(full: ComparisonConfig) -> None:
    config = with_all_methods(full)
    decided = (*LOG, "motion_extractor.num_denoise_steps=5", "lora_rank=8")
    choices = any_choices(config)
    for cells in (tuning_cells(config, decided), report_cells(config, decided, choices)):
        changes = {cell.method: cell.changes for cell in cells}
        for method in ("feature_matching", "cross_only", "temporal_only"):
            assert changes[method] == decided
        for method in ("published", "denoising", "frame_difference", "vmc", "motiondirector"):
            assert changes[method] == ("lora_rank=8",)


def test_report_takes_each_methods_own_choice(full: ComparisonConfig) -> None:
    choices = {
        key: Choice(1e-3 * (number + 1), 150)
        for number, key in enumerate(any_choices(full))  # all gated, then all open
    }
    cells = report_cells(full, (), choices)
    assert len(cells) == 8 * full.report.seeds * 2 * 4
    (gated,) = (
        c for c in cells if (c.method, c.motion, c.regime) == ("published", "spiral", "gated")
    )
    assert (gated.learning_rate, gated.caption, gated.kept_step) == (3e-3, "full", 150)
    # With the noise prior at the chosen step alone, without it over the whole training.
    assert gated.samplings == ((50, 0.0), (100, 0.0), (150, 0.0), (150, 0.3), (200, 0.0))
    (free,) = (
        c for c in cells if (c.method, c.motion, c.regime) == ("published", "spiral", "open")
    )
    assert (free.learning_rate, free.caption) == (7e-3, "unsaid")


def test_each_map_alone_takes_the_choice_for_both(full: ComparisonConfig) -> None:
    gated, free = full.report.conditions
    conditions = [dataclasses.replace(gated, each_map=True), free]
    config = dataclasses.replace(
        full, report=dataclasses.replace(full.report, conditions=conditions, seeds=2)
    )
    choices = dict(any_choices(config)) | {("feature_matching", "gated"): Choice(7e-3, 150)}
    cells = [cell for cell in report_cells(config, LOG, choices) if cell.method == "cross_only"]
    assert {(c.regime, c.learning_rate, c.changes) for c in cells} == {("gated", 7e-3, LOG)}
    assert [cell.seed for cell in cells] == [0] * 8
    assert cells[0].samplings[-1] == (200, 0.0)
    assert (150, 0.3) in cells[0].samplings
    assert not any(cell.method == "cross_only" for cell in tuning_cells(config, LOG))


def test_videos_are_kept_of_the_first_seed_alone(full: ComparisonConfig) -> None:
    config = dataclasses.replace(full, report=dataclasses.replace(full.report, seeds=2))
    cells = report_cells(config, (), any_choices(config))
    base = base_cells(config, ["spiral"], 2)
    assert {cell.kept_step for cell in cells if cell.seed == 1} == {None}
    assert [cell.kept_step for cell in base] == [0, None]
    assert {cell.samplings for cell in base} == {((0, 0.0), (0, 0.3))}


def test_any_choice_is_the_grids_middle(full: ComparisonConfig) -> None:
    assert any_choices(full)["denoising", "open"] == Choice(2e-3, 150)  # of three and of four


def test_settings_are_the_ordinary_trainers(full: ComparisonConfig) -> None:
    cell = Cell("temporal_only", "spiral", 2, ((50, 0.0), (200, 0.3)), "gated", "full", LOG, 0.01)
    settings = cell_settings(full, None, cell)
    assert (settings.objective, settings.feature_loss) == ("feature_matching", "log")
    assert settings.loss_weights.spatial_loss == 0  # of the method, after the decisions
    assert settings.loss_weights.temporal_loss > 0
    assert settings.learning_rate == 0.01
    assert (settings.seed, settings.max_train_steps, settings.checkpointing_steps) == (2, 200, 50)
    assert settings.train_data.single_video_path == "resources/reference_videos/spiral.mp4"
    assert settings.train_data.single_video_prompt == "a green square on a plain gray background"
    assert not settings.validation_data.sample_preview
    assert settings.validation_data.num_inference_steps == full.num_inference_steps
    assert settings.min_timestep == full.gate
    pixel = cell_settings(full, None, dataclasses.replace(cell, method="vmc"))
    assert pixel.objective == "vmc"
    same = ("lora_rank", "lora_targets", "train_batch_size", "adam_epsilon", "min_timestep")
    assert all(getattr(pixel, name) == getattr(settings, name) for name in same)


def test_regimes_and_captions_are_settings(full: ComparisonConfig) -> None:
    free = dataclasses.replace(CELL, regime="open", caption="unsaid")
    settings = cell_settings(full, None, free)
    assert settings.min_timestep == 1
    assert settings.train_data.single_video_prompt == "a square"
    full_later = dataclasses.replace(full, gate=750)
    assert cell_settings(full_later, None, CELL).min_timestep == 750
    assert cell_settings(full_later, None, free).min_timestep == 1
    shared = dataclasses.replace(CELL, regime="", learning_rate=None)
    settings = cell_settings(full_later, None, shared)
    assert (settings.min_timestep, settings.learning_rate) == (500, 2e-3)  # of moving_shapes.yaml


def test_the_published_loss_has_its_own_weights(full: ComparisonConfig) -> None:
    published = dataclasses.replace(CELL, method="published", changes=LOG)
    settings = cell_settings(full, None, published)
    weights = settings.loss_weights
    assert settings.feature_loss == "squared"
    assert (weights.spatial_loss, weights.temporal_loss) == (2000, 2000)


def test_the_base_may_be_another(full: ComparisonConfig) -> None:
    assert cell_settings(full, None, CELL).pretrained_model_path == "models/moving_shapes"
    assert cell_settings(full, "other/base", CELL).pretrained_model_path == "other/base"


def test_tuning_on_a_motion_of_the_report_is_refused(full: ComparisonConfig) -> None:
    tuning = dataclasses.replace(full.tuning, motions=["spiral"])
    with pytest.raises(UserError, match=r"tuning\.motions: spiral is not for tuning"):
        check_motions(dataclasses.replace(full, tuning=tuning))
    report = dataclasses.replace(full.report, motions=["swing"])
    with pytest.raises(UserError, match=r"report\.motions: swing is for tuning"):
        check_motions(dataclasses.replace(full, report=report))
    check_motions(full)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lr_scheduler=cosine", "lr_scheduler: expected one of constant, .* found cosine"),
        ("rescale_schedule=true", "rescale_schedule: the comparison samples on the base's own"),
        ("train_data.n_sample_frames=4", "ground truth of spiral is of 8 frames"),
        ("train_data.frame_step=2", "expected n_sample_frames to be that and each frame"),
        ("train_data.sample_start_idx=1", "of 8 frames from the first"),
        ("feature_los=log", "unknown key 'feature_los'. Did you mean 'feature_loss'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    full: ComparisonConfig, change: str, message: str
) -> None:
    for cell in (CELL, Cell(BASE, "spiral", 0, ((0, 0.0),))):
        with pytest.raises(UserError, match=message):
            cell_settings(full, None, dataclasses.replace(cell, changes=(change,)))
