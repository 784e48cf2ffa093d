"""The loss curve of a run, as training logs it."""

from pathlib import Path

import pytest

from motionmatcher.app.curve import LoggedStep, draw_curve, read_steps, seconds_left
from motionmatcher.runs.run_folder import Run


def log(run: Run, losses: dict[int, float], **options: int) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run.log_folder / "motionmatcher"), **options) as writer:
        for step, loss in losses.items():
            writer.add_scalar("loss", loss, step, walltime=1000.0 + 2 * step)
            writer.add_scalar("learning_rate", 1.0, step)


def test_steps_are_read_as_they_come(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert read_steps(run) == ()
    log(run, {1: 0.5, 2: 0.25})
    assert read_steps(run) == (LoggedStep(1, 0.5, 1002.0), LoggedStep(2, 0.25, 1004.0))
    log(run, {3: 0.125})
    assert [step.loss for step in read_steps(run)] == [0.5, 0.25, 0.125]


def test_what_a_run_that_went_on_from_an_earlier_step_made_before_is_left_out(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path)
    log(run, {1: 1.0, 2: 2.0, 3: 3.0})
    log(run, {3: 30.0}, purge_step=3)
    assert [step.loss for step in read_steps(run)] == [1.0, 2.0, 30.0]


def test_the_time_left_is_the_usual_pace_times_the_steps_to_come() -> None:
    times = [0.0, 2.0, 4.0, 60.0, 62.0]  # a preview before the fourth
    steps = [LoggedStep(number, 0.0, time) for number, time in enumerate(times, 1)]
    assert seconds_left(steps, 15) == pytest.approx(20.0)
    assert seconds_left(steps, 3) == 0
    assert seconds_left(steps[:1], 15) is None


def test_a_curve_is_one_svg_of_all_its_points() -> None:
    steps = tuple(LoggedStep(number, 1 / number, 0.0) for number in range(1, 5001))
    picture = draw_curve(steps, 6000)
    assert picture.startswith("<svg")
    assert picture.rstrip().endswith("</svg>")
    assert ">6000<" in picture  # the end of the axis
    assert ">loss<" in picture
