import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scene_factory import make_scene

from testbed.captions import (
    appearance_caption,
    direction_name,
    place_name,
    turning_name,
    write_caption,
)
from testbed.scenes import sample_scene, scene_stream
from testbed.tokenizer import MAX_TOKENS, build_tokenizer, caption_words, learn_merges


def test_appearance_caption_has_the_right_article() -> None:
    assert appearance_caption("red", "star", "plain", "gray") == (
        "a red star on a plain gray background"
    )
    assert appearance_caption("orange", "circle", "dotted", "navy") == (
        "an orange circle on a dotted navy background"
    )


@pytest.mark.parametrize(
    ("x", "y", "name"),
    [
        (0, 0, "top left"),
        (31, 31, "center"),
        (31, 5, "top"),
        (60, 31, "right"),
        (21.3, 63, "bottom left"),
        (21.4, 63, "bottom"),
        (70, -3, "top right"),
    ],
)
def test_place_names(x: float, y: float, name: str) -> None:
    assert place_name(x, y) == name


@pytest.mark.parametrize(
    ("dx", "dy", "name"),
    [(5, 0, "right"), (-5, 1, "left"), (0, -4, "up"), (1, 4, "down"), (-3, -3, "up and left")],
)
def test_direction_names(dx: float, dy: float, name: str) -> None:
    assert direction_name(dx, dy) == name


def test_turning_is_named_as_seen_on_the_screen() -> None:
    rightwards_then_down = np.asarray([[10.0, 10.0], [50.0, 10.0], [50.0, 50.0], [10.0, 50.0]])
    scene = make_scene(path=rightwards_then_down, radius=np.full(4, 9.0))
    assert turning_name(scene) == "clockwise"
    assert turning_name(dataclasses.replace(scene, path=scene.path[::-1])) == "counterclockwise"


def test_motion_words_on_demand() -> None:
    scene = make_scene(motion="bounce")
    for seed in range(20):
        assert "bounces" in write_caption(scene, np.random.default_rng(seed), motion_words=True)
        silent = write_caption(scene, np.random.default_rng(seed), motion_words=False)
        assert silent == "a red circle on a plain gray background"


def test_size_words_follow_the_radius() -> None:
    growing = make_scene(motion="line", radius=np.asarray([7.0, 12.0]))
    captions = {
        write_caption(growing, np.random.default_rng(seed), motion_words=True) for seed in range(40)
    }
    assert any("and grows" in caption for caption in captions)
    assert not any("shrinks" in caption for caption in captions)


def test_every_caption_fits_the_tokenizer() -> None:
    tokenizer = build_tokenizer()
    words = set(caption_words())
    for index in range(300):
        rng = scene_stream(2, "train", index)
        caption = write_caption(sample_scene(rng, "train"), rng)
        assert set(caption.replace(",", " ,").split()) <= words
        assert len(tokenizer(caption).input_ids) <= MAX_TOKENS


def test_each_word_is_one_token_and_other_text_is_bytes(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    assert [len(tokenizer.tokenize(word)) for word in caption_words()] == [1] * len(caption_words())
    assert tokenizer.tokenize("Red xyz") == ["red</w>", "x", "y", "z</w>"]
    tokenizer.save_pretrained(tmp_path)
    loaded = type(tokenizer).from_pretrained(tmp_path)
    assert loaded("a red star").input_ids == tokenizer("a red star").input_ids
    assert loaded.model_max_length == MAX_TOKENS


def test_merges_by_hand() -> None:
    # "a b" occurs twice and goes first; then ties go by the alphabet.
    assert learn_merges(["abc", "abd"]) == [("a", "b"), ("ab", "c</w>"), ("ab", "d</w>")]
