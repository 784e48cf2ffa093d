"""The model card shows the scores of the exported weights, and of no others."""

from example_scores import SCORES

from motionmatcher.files import write_json
from testbed.config import PretrainConfig
from testbed.model_card import model_card


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
