"""Which of several clips: names of their own, found by name or index, drawn on their own stream."""

from hashlib import sha256

import pytest

from motionmatcher.clips.clip_choice import clip_names, draw_clip, find_clip
from motionmatcher.config.train_data import ClipData, TrainData
from motionmatcher.errors import UserError


def data_of(*paths: str) -> TrainData:
    clips = [ClipData(path=path, prompt="a circle") for path in paths]
    return TrainData(single_video_path="", single_video_prompt="", clips=clips)


def test_names_are_the_stems_and_differ() -> None:
    data = data_of("a/swing.mp4", "b/swing.gif", "swing-2.mp4", "c/Swing Back.v2.mp4", "swing.mp4")
    assert clip_names(data) == ["swing", "swing-2", "swing-2-2", "Swing Back.v2", "swing-3"]
    assert clip_names(TrainData(single_video_path="a/swing.mp4", single_video_prompt="x")) == [
        "swing"
    ]


def test_a_name_goes_before_an_index() -> None:
    data = data_of("red.mp4", "0.mp4", "blue.mp4")
    assert [find_clip(data, wanted, "--noise_clip") for wanted in ("red", "0", "blue")] == [0, 1, 2]
    assert [find_clip(data, wanted, "--noise_clip") for wanted in (1, "2")] == [1, 2]


@pytest.mark.parametrize("wanted", ["blu", "-1", "3", "²", ""])
def test_a_clip_that_is_not_there(wanted: str) -> None:
    data = data_of("red.mp4", "green.mp4", "blue.mp4")
    message = f"--noise_clip {wanted}: the run has no such clip; there are: 0 red, 1 green, 2 blue."
    suggestion = " Did you mean 'blue'?" if wanted == "blu" else ""
    with pytest.raises(UserError) as error:
        find_clip(data, wanted, "--noise_clip")
    assert str(error.value) == message + suggestion


def test_a_draw_is_a_hash_of_seed_stream_and_place() -> None:
    def by_hand(count: int, name: str) -> int:
        return (int.from_bytes(sha256(name.encode()).digest()[:8]) >> 1) % count

    places = [(step, micro) for step in range(40) for micro in range(2)]
    drawn = [draw_clip(3, 5, "clip", *place, 0) for place in places]
    assert drawn == [by_hand(3, f"5:clip:{step}:{micro}:0") for step, micro in places]
    assert min(drawn.count(index) for index in range(3)) >= 15
    assert {draw_clip(1, 5, "clip", step) for step in range(9)} == {0}
