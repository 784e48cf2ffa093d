"""The model card says what was run, and shows the scores of the exported weights, and of no others."""

import dataclasses
from pathlib import Path

from example_scores import SCORES
from launching import PROJECT

from motionmatcher.bases.layout import find_base
from motionmatcher.files import write_json
from motionmatcher.text_files import read_json
from testbed.config import PretrainConfig, load_config
from testbed.model_card import model_card
from testbed.recipe import gate_path, list_stages
from testbed.stage import write_state


def test_scores_of_the_same_weights_are_shown(tiny_config: PretrainConfig) -> None:
    assert model_card(tiny_config, "ab12").endswith("## Scores\n\nNot measured yet.\n")
    write_json(tiny_config.model_dir / "scores.json", SCORES | {"base": {"fingerprint": "ab12"}})
    card = model_card(tiny_config, "ab12")
    assert "weights with fingerprint ab12: 200 held-out prompts, 8 frames" in card
    assert "5 of 8 targets reached; missed: shape, spread, start_words" in card


def test_scores_of_other_weights_are_not_shown(tiny_config: PretrainConfig) -> None:
    write_json(tiny_config.model_dir / "scores.json", SCORES | {"base": {"fingerprint": "ab12"}})
    card = model_card(tiny_config, "cd34")
    assert card.endswith("Not measured yet for these weights.\n")
    assert "targets reached" not in card


def recorded(recipe: str, states: Path) -> PretrainConfig:
    """A shipped recipe, with states that have as many steps behind them as its base's record says."""
    config = load_config(PROJECT / "testbed" / recipe)
    config = dataclasses.replace(config, state_dir=states, model_dir=PROJECT / config.model_dir)
    record = read_json(config.model_dir / "training.json")
    hours = {entry["name"]: entry["hours"] for entry in record["stages"]}
    for stage in list_stages(config):
        write_state(stage.state, {}, stage.num_steps, 3600 * hours[stage.name], [])
        write_json(gate_path(config, stage.name), record["gates"][stage.name])
    return config


def test_shipped_card_is_what_its_record_gives(tmp_path: Path) -> None:
    config = recorded("moving_shapes.yaml", tmp_path)
    card = model_card(config, find_base(str(config.model_dir)).fingerprint())
    assert card == (config.model_dir / "README.md").read_text(encoding="utf-8")


def test_card_of_the_transformer_names_its_own_recipe(tmp_path: Path) -> None:
    config = load_config(PROJECT / "testbed" / "moving_shapes_wan.yaml")
    config = dataclasses.replace(
        config, state_dir=tmp_path / "states", model_dir=tmp_path / "moving_shapes_wan"
    )
    scores = SCORES | {"base": {"fingerprint": "ab12"}}
    scores["settings"] = SCORES["settings"] | {"prompts_per_word": 60}
    write_json(config.model_dir / "scores.json", scores)
    card = model_card(config, "ab12")
    for words in (
        "# Moving Shapes, transformer\n",
        "in the layout of Wan 2.1: clips of 64 by 64 pixels and\n8 frames",
        "50% of the clips are played backwards",
        "python -m testbed.pretrain --config testbed/moving_shapes_wan.yaml [--resume]",
        "python -m testbed.score --base models/moving_shapes_wan "
        "--json models/moving_shapes_wan/scores.json \\\n"
        "        --sheet resources/moving_shapes_wan/samples.png\n",
        "| transformer, 8 frames | 0 | 30000 | 0.0 |",
        "The autoencoder is `models/moving_shapes/vae`.",
        "from\nthe output of block 2 (the first is 0), which does not ship.",
        "200 held-out prompts and more up to 60 for each kind of motion words, 8 frames, 25 Euler steps",
    ):
        assert words in card
    assert "Zeroscope" not in card
    assert card.endswith("\nwords followed no better than by chance: start\n```\n")
