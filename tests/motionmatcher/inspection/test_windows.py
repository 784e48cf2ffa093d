"""Windows sum up their steps; the rule that ranks them, point by point."""

import dataclasses
from itertools import pairwise
from typing import Any

import pytest

from motionmatcher.inspection.steps import Step
from motionmatcher.inspection.windows import Survey, Window, find_candidates, is_better, rank


def step(speed: float = 2.0, found: float = 0.9, change: float = 50.0, moving: float = 0.1) -> Step:
    return Step(found, camera=speed / 2, objects=speed, moving=moving, change=change)


def window(**changes: Any) -> Window:
    """A window of five frames in which objects move by 2 % in each step."""
    plain = Window((0, 1, 2, 3, 4), (1.0,) * 4, (2.0,) * 4, (False,) * 4, (), ())
    return dataclasses.replace(plain, **changes)


def test_the_steps_between_the_frames_read_are_summed_up() -> None:
    # Frames 10 to 16; frame 13 begins another scene, frame 15 repeats 14.
    steps = [step(1), step(2), step(9, found=0.1), step(3, found=0.48), step(0, change=0), step(5)]
    survey = Survey(10, steps)
    assert (survey.cuts, survey.repeats) == ({13}, {15})
    found = survey.window([10, 12, 14, 16])
    # A cut's own motion is none.
    assert found == Window(
        (10, 12, 14, 16), (1.5, 1.5, 2.5), (3, 3, 5), (False, True, False), (14,), ()
    )
    assert survey.window([14, 15, 16]).repeats == (15,)
    held = survey.window([14, 14, 16])  # where a clip is slower than asked for
    assert (held.objects, held.repeats) == ((0, 5), (14,))


def test_what_seems_to_move_at_a_cut_does_not() -> None:
    # Frame 12 begins another scene.
    steps = [step(moving=0.1), step(found=0.1, moving=0.9), step(moving=0.3), step(moving=0.2)]
    assert Survey(10, steps).moving == pytest.approx(0.2)
    assert Survey(10, []).moving == 0


def test_still_and_fast() -> None:
    assert not window().is_still
    assert window(objects=(1.2,) * 4).is_still  # 4.8 in all
    assert not window(objects=(0.0,) * 4, camera=(1.3,) * 4).is_still
    assert not window(objects=(34.0, 2, 2, 2)).is_fast  # one of four
    assert window(objects=(34.0, 34.0, 2, 2)).is_fast
    assert window(objects=(34.0, 2, 2, 2), lost=(False, True, False, False)).is_fast
    one_frame = Window((3,), (), (), (), (), ())
    assert not one_frame.is_still
    assert not one_frame.is_fast


def test_the_rule_s_points_come_in_order() -> None:
    ordered = [
        (window(), 2),
        (window(frames=(5, 6, 7, 8, 9)), 2),  # later
        (window(objects=(1.9, 1.9, 1.9, 30)), 2),  # moves less in most steps
        (window(objects=(3.0,) * 4), 3),  # another rate
        (window(objects=(0.1,) * 4, camera=(0.1,) * 4), 2),  # still
        (window(repeats=(2,)), 2),
        (window(repeats=(2, 3)), 2),
        (window(cuts=(2,)), 2),
    ]
    ranks = [rank(candidate, distance, natural_step=2) for candidate, distance in ordered]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)


def test_only_much_more_motion_is_worth_another_window() -> None:
    now = rank(window(), 1, 1)
    assert not is_better(rank(window(objects=(2.5,) * 4), 1, 1), now)
    assert is_better(rank(window(objects=(2.6,) * 4), 1, 1), now)
    assert is_better(rank(window(objects=(1.5,) * 4), 1, 1), rank(window(cuts=(1,)), 1, 1))
    assert not is_better(rank(window(repeats=(1,), objects=(9.0,) * 4), 1, 1), now)


def test_candidates_lie_apart_and_avoid_a_cut() -> None:
    # 24 frames; frame 10 begins another scene, and much moves in steps 16 to 20.
    steps = [step(2) for _ in range(23)]
    steps[9] = step(2, found=0.05)
    steps[16:21] = [step(8)] * 5
    found = find_candidates(Survey(0, steps), count=4, natural_step=1)
    assert found[0].frames == (15, 16, 17, 18)  # the first with most steps fast
    assert len(found) == 4
    for first, second in pairwise(found):
        assert abs(first.frames[0] - second.frames[0]) >= 2
    assert not any(candidate.cuts for candidate in found)


def test_the_step_nearest_to_the_wanted_rate_is_taken() -> None:
    steps = [step(2) for _ in range(30)]
    (best, *_) = find_candidates(Survey(0, steps), count=4, natural_step=3)
    assert best.frames == (0, 3, 6, 9)
    still = [step(0.4) for _ in range(30)]  # 0.4 * 3 * 3 is less than 5: a larger step moves more
    (best, *_) = find_candidates(Survey(0, still), count=4, natural_step=3)
    assert best.frames == (0, 5, 10, 15)
    (only, *_) = find_candidates(Survey(0, steps), count=4, natural_step=3, steps=[2])
    assert only.frames == (0, 2, 4, 6)


@pytest.mark.parametrize("count", [32, 100])
def test_a_clip_that_is_too_short_has_none(count: int) -> None:
    assert find_candidates(Survey(0, [step()] * 30), count, natural_step=1) == []
