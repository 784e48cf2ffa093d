"""What the page shows of clips, runs and jobs."""

from pathlib import Path

import pytest

from motionmatcher.app.curve import LoggedStep
from motionmatcher.app.doctor import Findings
from motionmatcher.app.job import Job
from motionmatcher.app.show import (
    escaped,
    file_url,
    show_curve,
    show_error,
    show_findings,
    show_job,
    show_log,
    show_previews,
    show_progress,
)
from motionmatcher.runs.run_folder import Run


class Ended(Job):
    """A job without programs, in any state."""

    def __init__(self, log: Path, *, error: str | None = None, stopped: bool = False) -> None:
        super().__init__("training", [], log)
        self.wait()
        self._failed = error
        if stopped:
            self._stopped.set()


class Running(Ended):
    @property
    def is_running(self) -> bool:
        return True


STEPS = tuple(LoggedStep(number, 0.5 * number, 2.0 * number) for number in range(1, 5))


def test_texts_can_be_neither_markup_nor_templates() -> None:
    assert escaped('<b a="\'">${x}{{y}}') == (
        "&lt;b a=&quot;&#x27;&quot;&gt;&#36;&#123;x&#125;&#123;&#123;y&#125;&#125;"
    )


def test_an_error_is_the_scripts_one_line() -> None:
    assert show_error("a\nb <c>") == ('<p class="error" role="alert">error: a\\nb &lt;c&gt;</p>')


def test_progress_of_a_run(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    shown = show_progress(Running(log), STEPS, 34, 0)
    assert 'max="34" value="4"' in shown
    assert "step 4 of 34, loss 2, about 1:00 min of steps left" in shown
    assert "step 0 of 34, starting" in show_progress(Running(log), (), 34, 0)
    assert "left" not in show_progress(Ended(log), STEPS, 34, 0)
    assert "step 20 of 34<" in show_progress(None, (), 34, 20)  # it logged elsewhere


@pytest.mark.parametrize(
    ("state", "shown"),
    [({}, "training: finished."), ({"stopped": True}, "training: stopped."),
     ({"error": "no <room>"}, "error: no &lt;room&gt;")],
)  # fmt: skip
def test_how_a_job_ended(tmp_path: Path, state: dict, shown: str) -> None:
    assert shown in show_job(Ended(tmp_path / "log.txt", **state))


def test_what_a_job_does(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert show_job(None) == ""
    assert "training: running" in show_job(Running(log))
    assert "training: stopping" in show_job(Running(log, stopped=True))
    log.write_text("\n".join(f"<line {number}>" for number in range(40)))
    shown = show_log(Ended(log))
    assert "&lt;line 39&gt;" in shown
    assert "line 25" not in shown


def test_previews_before_training_and_the_last(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.samples_folder.mkdir()
    for name in ("00000_a-star_0", "00000_b_0", "00050_a-star_0", "00100_a-star_0", "00100_b_0"):
        (run.samples_folder / f"step-{name}.mp4").touch()
    (run.samples_folder / "step-00100.png").touch()
    shown = show_previews(run)
    assert shown.count("<video") == 4
    assert shown.index("before training") < shown.index("step-00000_a-star_0.mp4")
    assert shown.index("step 100") < shown.index("step-00100_a-star_0.mp4")
    assert "step-00050" not in shown
    assert "<figcaption>a star</figcaption>" in shown
    assert show_previews(Run(tmp_path / "other")) == ""


def test_findings_lead_with_the_notes(tmp_path: Path) -> None:
    sheet = tmp_path / "frames.png"
    sheet.touch()
    shown = show_findings(Findings(["8 frames"], ["a cut <here>"], (), sheet))
    assert shown.index("a cut &lt;here&gt;") < shown.index("8 frames") < shown.index("<img")
    assert "Nothing to remark." in show_findings(Findings(["8 frames"], [], (), sheet))


def test_a_file_that_changes_has_another_address(tmp_path: Path) -> None:
    file = tmp_path / "a $b #.mp4"
    file.touch()
    first = file_url(file)
    assert first.startswith(f"/gradio_api/file={tmp_path}/a%20%24b%20%23.mp4?")
    file.write_text("longer")
    assert file_url(file) != first


def test_a_curve_says_what_it_shows() -> None:
    assert show_curve((), 4) == ""
    assert 'aria-label="Loss from step 1 to 4: now 2"' in show_curve(STEPS, 4)
