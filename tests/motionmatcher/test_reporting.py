"""The one place that prints."""

import pytest

from motionmatcher.reporting import note, progress_bar, quiet, say, warn


def test_notes_go_to_stdout_and_bars_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("begun")
    note("fits")
    warn("odd")
    assert list(progress_bar([1, 2], "counting")) == [1, 2]
    output = capsys.readouterr()
    assert output.out == "begun\nnote: fits\nwarning: odd\n"
    assert "counting: 100%" in output.err


def test_quiet_prints_nothing_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        note("unseen")
        with quiet(False):
            note("unseen: an inner block does not switch it off")
        assert list(progress_bar([1, 2], "counting")) == [1, 2]
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "")
    with quiet(False):
        note("seen")
    assert capsys.readouterr().out == "note: seen\n"


def test_other_processes_print_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    note("unseen")
    assert list(progress_bar([1], "counting")) == [1]
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "")
