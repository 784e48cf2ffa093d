"""Cells: what is made of the settings, and what is refused."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from launching import PROJECT

from experiments.comparison.cells import (
    Cell,
    ablation_cells,
    cell_settings,
    check_motions,
    num_videos,
    report_cells,
    tuning_cells,
)
from experiments.comparison.config import ComparisonConfig, load_comparison
from experiments.comparison.identity import identify, result_path
from experiments.comparison.make_cell import video_seed
from experiments.comparison.methods import BASE, TRAINED
from experiments.comparison.statistics import Choice
from motionmatcher.errors import UserError

FULL, QUICK = PROJECT / "experiments/comparison.yaml", PROJECT / "experiments/comparison_quick.yaml"


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> ComparisonConfig:
    monkeypatch.chdir(PROJECT)
    return load_comparison(FULL)


def changed(tmp_path: Path, **values: object) -> Path:
    path = tmp_path / "changes.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_tuning_is_the_same_grid_for_every_method(config: ComparisonConfig) -> None:
    cells = tuning_cells(config)
    for method in TRAINED:
        own = [cell for cell in cells if cell.method == method]
        assert {cell.variant for cell in own} == {
            (f"learning_rate={rate:g}",) for rate in config.tuning.learning_rates
        }
        assert {cell.motion for cell in own} == set(config.tuning.motions)
        assert all(cell.steps == tuple(config.steps) for cell in own)
    assert len(config.tuning.motions) == 4
    assert len(config.report.motions) == 8
    assert not set(config.tuning.motions) & set(config.report.motions)
    assert len(config.prompts) == 4


def test_report_takes_each_methods_own_choice(config: ComparisonConfig) -> None:
    choices = {method: Choice(1e-3 * (i + 1), 100, 5.0) for i, method in enumerate(TRAINED)}
    cells = report_cells(config, choices)
    assert len(cells) == 8 * config.report.seeds * (1 + len(TRAINED))
    vmc = next(cell for cell in cells if cell.method == "vmc" and cell.seed == 0)
    assert vmc.variant == ("learning_rate=0.003",)
    assert vmc.kept_step == 100
    base = next(cell for cell in cells if cell.method == BASE)
    assert (base.steps, base.variant) == ((0,), ())
    assert num_videos(config, base) == 2 * 4 * config.samples
    assert num_videos(config, vmc) == len(config.steps) * 2 * 4 * config.samples


def test_ablations_change_the_choice_and_nothing_else(config: ComparisonConfig) -> None:
    cells = ablation_cells(config, Choice(3e-3, 100, 5.0))
    swing = [cell for cell in cells if cell.motion == "swing"]
    base, unchanged, *others = swing
    assert (base.method, base.noise_priors) == (BASE, unchanged.noise_priors)
    assert unchanged.variant == ("learning_rate=0.003",)
    assert len(others) == len(config.ablation.variants)
    assert all(cell.variant[0] == "learning_rate=0.003" for cell in others)
    assert all(cell.steps == (100,) for cell in others)


def test_settings_are_the_ordinary_trainers(config: ComparisonConfig) -> None:
    cell = Cell("report", "temporal_only", "spiral", 2, ("learning_rate=0.01",), (50, 200), (0.0,))
    settings = cell_settings(config, None, cell)
    assert settings.objective == "feature_matching"
    assert settings.loss_weights.spatial_loss == 0
    assert settings.loss_weights.temporal_loss > 0
    assert settings.learning_rate == 0.01
    assert (settings.seed, settings.max_train_steps, settings.checkpointing_steps) == (2, 200, 50)
    assert settings.train_data.single_video_path == "resources/reference_videos/spiral.mp4"
    assert settings.train_data.single_video_prompt == "a green square on a plain gray background"
    assert not settings.validation_data.sample_preview
    pixel = cell_settings(config, None, dataclasses.replace(cell, method="vmc"))
    assert pixel.objective == "vmc"
    same = ("lora_rank", "lora_targets", "train_batch_size", "adam_epsilon", "min_timestep")
    assert all(getattr(pixel, name) == getattr(settings, name) for name in same)


CELL = Cell("report", "vmc", "spiral", 0, ("learning_rate=0.003",), (50,), (0.0,))
BASE_CELL = Cell("report", BASE, "spiral", 0, (), (0,), (0.0, 0.3))


def digest(config: ComparisonConfig, cell: Cell, *overrides: str, base: str = "abc") -> str:
    """File name of a cell's result, were the shared settings changed so."""
    settings = cell_settings(config, None, dataclasses.replace(cell, variant=overrides))
    settings = dataclasses.replace(settings, pretrained_model_path="somewhere")
    return result_path(Path(), cell, identify(config, cell, settings, base)).name


def test_a_result_is_named_by_all_it_depends_on(config: ComparisonConfig) -> None:
    names = [
        digest(config, CELL),
        digest(config, CELL, base="def"),
        digest(config, dataclasses.replace(CELL, seed=1)),
        digest(config, dataclasses.replace(CELL, motion="swing")),
        digest(config, dataclasses.replace(CELL, steps=(50, 100))),
        digest(config, dataclasses.replace(CELL, noise_priors=(0.3,))),
        digest(config, dataclasses.replace(CELL, method="motiondirector")),
        digest(dataclasses.replace(config, num_inference_steps=20), CELL),
        digest(dataclasses.replace(config, prompts=config.prompts[:2]), CELL),
        digest(config, CELL, "learning_rate=1e-2"),
        digest(config, CELL, "lora_rank=8"),
        digest(config, CELL, "objective=denoising"),
        digest(config, CELL, "min_timestep=250"),
        digest(config, CELL, "validation_data.guidance_scale=3"),
        digest(config, CELL, "validation_data.negative_prompt=blurry"),
        digest(config, CELL, "validation_data.inversion_iterations=2"),
    ]
    assert len(set(names)) == len(names)
    assert digest(config, CELL) == names[0]
    assert names[0].startswith("report-vmc-spiral-0-")


@pytest.mark.parametrize(
    "override",
    [
        "validation_steps=7",
        "logger_type=wandb",
        "validation_data.noise_prior=0.9",
        "validation_data.prompt=[a red star]",
        "checkpoints_total_limit=1",
        "max_train_steps=7",
        "output_dir=elsewhere",
        "train_data.fps=12",
        "save_pretrained_model=true",
    ],
)
def test_settings_without_effect_leave_results_as_they_are(
    config: ComparisonConfig, override: str
) -> None:
    for cell in (CELL, BASE_CELL):
        assert digest(config, cell, override) == digest(config, cell)


def test_settings_of_training_leave_the_base_as_it_is(config: ComparisonConfig) -> None:
    for override in ("learning_rate=1e-2", "lora_rank=8", "motion_extractor.mode=tangent"):
        assert digest(config, BASE_CELL, override) == digest(config, BASE_CELL)
    for override in ("min_timestep=250", "validation_data.guidance_scale=3"):
        assert digest(config, BASE_CELL, override) != digest(config, BASE_CELL)
    assert digest(config, BASE_CELL, base="def") != digest(config, BASE_CELL)


def test_settings_of_feature_matching_leave_pixel_losses_as_they_are(
    config: ComparisonConfig,
) -> None:
    for override in ("motion_extractor.num_denoise_steps=5", "loss_weights.spatial_loss=1"):
        assert digest(config, CELL, override) == digest(config, CELL)
        matching = dataclasses.replace(CELL, method="feature_matching")
        assert digest(config, matching, override) != digest(config, matching)


def test_values_tuned_later_leave_results_that_state_their_own(
    config: ComparisonConfig, tmp_path: Path
) -> None:
    tuned = tmp_path / "tuned.yaml"
    values = {"base": str(PROJECT / config.train_config), "learning_rate": 1e-2}
    values |= {"max_train_steps": 400, "validation_data": {"noise_prior": 0.1}}
    tuned.write_text(yaml.safe_dump(values), encoding="utf-8")
    later = dataclasses.replace(config, train_config=str(tuned))
    for cell in (CELL, BASE_CELL):
        names = {digest(shared, cell, *cell.variant) for shared in (config, later)}
        assert len(names) == 1
    assert digest(later, CELL) != digest(config, CELL)  # which does not state its learning rate


def test_a_clip_rendered_anew_is_another(config: ComparisonConfig, tmp_path: Path) -> None:
    for file in Path(config.reference_dir).glob("spiral.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    copied = dataclasses.replace(config, reference_dir=str(tmp_path))
    assert digest(copied, CELL) == digest(config, CELL)  # wherever it lies
    with (tmp_path / "spiral.mp4").open("ab") as clip:
        clip.write(b"more")
    for cell in (CELL, BASE_CELL):
        assert digest(copied, cell) != digest(config, cell)


def test_keys_at_their_default_have_no_part_in_an_identity(config: ComparisonConfig) -> None:
    settings = cell_settings(config, None, CELL)
    identity = identify(config, CELL, settings, "abc")["settings"]
    assert identity["training"] == {
        "objective": "vmc",
        "lora_targets": ["attention", "temporal_conv"],
        "learning_rate": 3e-3,
        "lr_scheduler": "constant_with_warmup",
        "lr_warmup_steps": 10,
        "adam_weight_decay": 0,
        "adam_epsilon": 1e-16,
        "mixed_precision": "no",
    }
    assert identity["sampling"] == {"num_inference_steps": 12, "guidance_scale": 5}
    assert set(identity) == {"train_data", "sampling", "min_timestep", "training"}


def test_videos_of_all_methods_start_from_the_same_noise() -> None:
    cell = Cell("report", "vmc", "spiral", 0, (), (50,), (0.0,))
    seed = video_seed(cell, "a red star", 0)
    assert seed == video_seed(dataclasses.replace(cell, method=BASE, steps=(0,)), "a red star", 0)
    others = [
        video_seed(cell, "a red star", 1),
        video_seed(cell, "a blue star", 0),
        video_seed(dataclasses.replace(cell, seed=1), "a red star", 0),
        video_seed(dataclasses.replace(cell, motion="swing"), "a red star", 0),
    ]
    assert len({seed, *others}) == 5


def test_quick_is_the_full_comparison_made_small() -> None:
    full, quick = load_comparison(FULL), load_comparison(FULL, QUICK)
    assert quick.results_dir != full.results_dir
    assert quick.train_config == full.train_config
    assert len(quick.methods) < len(full.methods)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"step": [50]},
            r"changes\.yaml: unknown key 'step'\. Did you mean 'steps'",
        ),
        ({"samples": "many"}, r"changes\.yaml: samples must be a whole number, not 'many'"),
        ({"samples": 0}, "samples must be at least 1, not 0"),
        ({"steps": [100, 50]}, r"steps must ascend, not \[100, 50\]"),
        ({"noise_priors": [0.0, 1.5]}, "noise_priors must be at most 1, not 1.5"),
        ({"noise_priors": [0.3]}, "noise_priors must begin with 0"),
        (
            {"methods": ["vcm", "feature_matching"]},
            r"methods must be one of .*'vcm'\. Did you mean 'vmc'\?",
        ),
        ({"methods": ["vmc"]}, "methods must have feature_matching among them"),
        ({"report": {"motions": []}}, r"report\.motions is empty"),
        ({"tuning": {"seeds": 0}}, r"tuning\.seeds must be at least 1, not 0"),
        (
            {"prompts": [{"color": "red", "shape": "star", "background_style": "plain"}]},
            r"prompts\[0\]\.background_color is missing",
        ),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_comparison(FULL, changed(tmp_path, **values))


def test_unknown_color_names_the_nearest(tmp_path: Path) -> None:
    prompt = {
        "color": "grean",
        "shape": "star",
        "background_style": "plain",
        "background_color": "gray",
    }
    with pytest.raises(
        UserError,
        match=r"prompts\[0\]\.color must be one of .*, not 'grean'\. Did you mean 'green'",
    ):
        load_comparison(FULL, changed(tmp_path, prompts=[prompt]))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: there is no such file"):
        load_comparison(tmp_path / "none.yaml")


def test_tuning_on_a_motion_of_the_report_is_refused(config: ComparisonConfig) -> None:
    tuning = dataclasses.replace(config.tuning, motions=["spiral"])
    with pytest.raises(UserError, match=r"tuning\.motions: spiral is not for tuning"):
        check_motions(dataclasses.replace(config, tuning=tuning))
    report = dataclasses.replace(config.report, motions=["swing"])
    with pytest.raises(UserError, match=r"report\.motions: swing is for tuning"):
        check_motions(dataclasses.replace(config, report=report))


def test_learning_rates_that_decay_are_refused(config: ComparisonConfig) -> None:
    cell = Cell("report", "vmc", "spiral", 0, ("lr_scheduler=cosine",), (50, 100), (0.0,))
    with pytest.raises(UserError, match=r"lr_scheduler: expected one of constant, .* found cosine"):
        cell_settings(config, None, cell)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "rescale_schedule=true",
            "rescale_schedule: .* on the base's own schedule; expected false",
        ),
        ("flow_shift=5", "flow_shift: .* on the base's own schedule; expected null"),
    ],
)
def test_another_schedule_than_the_bases_is_refused(
    config: ComparisonConfig, override: str, message: str
) -> None:
    cell = Cell("report", "vmc", "spiral", 0, (override,), (50,), (0.0,))
    with pytest.raises(UserError, match=message):
        cell_settings(config, None, cell)


def test_ground_truth_of_another_length_is_refused(config: ComparisonConfig) -> None:
    cell = Cell("report", "vmc", "spiral", 0, ("train_data.n_sample_frames=4",), (50,), (0.0,))
    with pytest.raises(UserError, match="ground truth of spiral is of 8 frames"):
        cell_settings(config, None, cell)
