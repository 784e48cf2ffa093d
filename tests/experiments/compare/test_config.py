"""The comparison's own settings: what ships, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from launching import PROJECT

from experiments.compare.cells import (
    any_choices,
    cell_settings,
    check_motions,
    decision_cells,
    report_cells,
    tuning_cells,
)
from experiments.compare.config import load_comparison
from motionmatcher.errors import UserError

FULL = PROJECT / "experiments/compare/unet.yaml"
QUICK = PROJECT / "experiments/compare/quick.yaml"
PROMPT = {
    "color": "red",
    "shape": "star",
    "background_style": "plain",
    "background_color": "gray",
}
BOTH = ["denoising", "feature_matching"]


def grid(**values: Any) -> dict[str, Any]:
    common = {"methods": BOTH, "regime": "gated", "learning_rates": [1e-3], "steps": [50]}
    return {**common, **values}


@pytest.mark.parametrize("name", ["unet.yaml", "transformer.yaml"])
def test_quick_is_the_full_comparison_made_small(name: str) -> None:
    full = load_comparison(FULL.with_name(name))
    quick = load_comparison(FULL.with_name(name), QUICK)
    assert quick.results_dir != full.results_dir
    assert quick.cells_dir != full.cells_dir
    assert quick.train_config == full.train_config
    assert len(quick.grids("gated")) < len(full.grids("gated"))
    assert quick.regimes == full.regimes == ["gated", "open"]


def test_every_setting_of_the_transformer_s_comparison_is_sound() -> None:
    config = load_comparison(FULL.with_name("transformer.yaml"))
    check_motions(config)
    decided: tuple[str, ...] = ()
    for decision in config.decide.decisions:
        assert decision.options[0] == []
        for cell in decision_cells(config, decided, decision.options):
            cell_settings(config, None, cell)
        decided += tuple(decision.options[-1])
    for cell in (
        *tuning_cells(config, decided),
        *report_cells(config, decided, any_choices(config)),
    ):
        cell_settings(config, None, cell)
    settings = cell_settings(config, None, tuning_cells(config, decided)[0])
    assert (settings.objective, settings.lora_rank) == ("denoising", 32)
    assert settings.lora_targets == ["attention", "cross_attention"]


def test_prompts_are_said_as_the_base_s_captions() -> None:
    texts = [prompt.text for prompt in load_comparison(FULL).prompts]
    assert texts[0] == "a green star on a dotted white background"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": [50]}, r"changes\.yaml: unknown key 'step'\."),
        ({"samples": "many"}, r"changes\.yaml: samples must be a whole number, not 'many'"),
        ({"samples": 0}, "samples must be at least 1, not 0"),
        ({"gate": 0}, "gate must be at least 1, not 0"),
        ({"noise_priors": [0.0, 1.5]}, "noise_priors must be at most 1, not 1.5"),
        ({"noise_priors": [0.3]}, "noise_priors must begin with 0, which is sampling without"),
        ({"noise_priors": [0, 0.5, 0.3]}, r"noise_priors must ascend, not \[0.0, 0.5, 0.3\]"),
        (
            {"tuning": {"grids": [grid(methods=["vcm", "feature_matching"])]}},
            r"tuning\.grids\[0\]\.methods must be one of .*'vcm'\. Did you mean 'vmc'\?",
        ),
        (
            {"tuning": {"grids": [grid(), grid(methods=["denoising"], regime="open")]}},
            r"tuning\.grids: feature_matching has none in the open regime, and all others",
        ),
        ({"prompts": []}, "prompts is empty: give one or more"),
        (
            {"prompts": [{**PROMPT, "color": "grean"}]},
            r"prompts\[0\]\.color must be one of .*, not 'grean'\. Did you mean 'green'",
        ),
        (
            {"prompts": [{"color": "red", "shape": "star", "background_style": "plain"}]},
            r"prompts\[0\]\.background_color is missing",
        ),
        ({"decide": {"caption": "none"}}, "decide.caption must be one of full, unsaid, not 'none'"),
        (
            {"decide": {"decisions": [{"name": "loss", "options": []}]}},
            "decide: loss: options is empty",
        ),
        ({"tuning": {"seeds": 0}}, r"tuning\.seeds must be at least 1, not 0"),
        ({"tuning": {"motions": []}}, r"tuning\.motions is empty"),
        (
            {"tuning": {"grids": [grid(steps=[100, 50])]}},
            r"tuning\.grids\[0\]\.steps must ascend, not \[100, 50\]",
        ),
        (
            {"tuning": {"grids": [grid(learning_rates=[1e-3, 1e-3])]}},
            r"tuning\.grids\[0\]\.learning_rates must ascend, not \[0.001, 0.001\]",
        ),
        ({"tuning": {"grids": [grid(steps=[])]}}, r"tuning\.grids\[0\]\.steps is empty"),
        (
            {"tuning": {"grids": [grid(regime="shut")]}},
            r"tuning\.grids\[0\]\.regime must be one of gated, open, not 'shut'",
        ),
        (
            {"tuning": {"grids": [grid()]}},
            r"tuning\.grids: feature_matching has none in the open regime",
        ),
        ({"report": {"motions": []}}, r"report\.motions is empty"),
        ({"report": {"conditions": []}}, r"report\.conditions is empty"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, values: dict, message: str) -> None:
    changes = tmp_path / "changes.yaml"
    changes.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_comparison(FULL, changes)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: there is no such file"):
        load_comparison(tmp_path / "none.yaml")
