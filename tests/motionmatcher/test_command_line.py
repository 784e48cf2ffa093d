"""Scripts take exact flags only, and tell bad input from bugs."""

import argparse
import importlib.util
import io
import os
import runpy
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from motionmatcher.command_line import (
    ArgumentParser,
    add_json_argument,
    add_output_argument,
    remove_unfinished_outputs,
    run,
)
from motionmatcher.errors import UserError, did_you_mean
from motionmatcher.files import atomic_path


@pytest.fixture
def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="script.py")
    parser.add_argument("--prompt")
    parser.add_argument("--num-steps", type=int)
    parser.add_argument("paths", nargs="*")
    return parser


def exit_code_and_message(
    capsys: pytest.CaptureFixture[str], call: Callable[[], object]
) -> tuple[object, str]:
    with pytest.raises(SystemExit) as caught:
        call()
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--promt", "--promt=a bear", "--prom"])
def test_an_unknown_flag_names_the_nearest(
    parser: ArgumentParser, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    code, message = exit_code_and_message(capsys, lambda: parser.parse_args([flag, "5"]))
    assert code == 2
    name = flag.partition("=")[0]
    assert message == (
        f"error: unknown flag {name}. Did you mean '--prompt'?\nSee `script.py --help`.\n"
    )


def test_an_unknown_flag_far_from_all_others(
    parser: ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = exit_code_and_message(capsys, lambda: parser.parse_args(["--xyzzy"]))
    assert code == 2
    assert message.startswith("error: unknown flag --xyzzy.\n")


def test_what_follows_two_hyphens_is_no_flag(parser: ArgumentParser) -> None:
    assert parser.parse_args(["--", "--promt"]).paths == ["--promt"]


def test_a_value_of_the_wrong_type_exits_with_2(
    parser: ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = exit_code_and_message(
        capsys, lambda: parser.parse_args(["--num-steps", "many"])
    )
    assert code == 2
    assert message.startswith("error: argument --num-steps: invalid int value: 'many'\n")


@pytest.mark.parametrize("words", [["--prompt", "caf\udce9"], ["caf\udce9"], ["--", "caf\udce9"]])
def test_an_argument_that_is_no_utf8_is_named(
    parser: ArgumentParser, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    code, message = exit_code_and_message(capsys, lambda: parser.parse_args(words))
    assert code == 2
    assert message.startswith("error: the argument 'caf\\udce9' is not UTF-8.\n")


def test_flags_and_values_are_parsed(parser: ArgumentParser) -> None:
    arguments = parser.parse_args(["--prompt=a - b", "--num-steps", "5", "x"])
    assert arguments == argparse.Namespace(prompt="a - b", num_steps=5, paths=["x"])


def test_json_flag_is_a_path() -> None:
    parser = ArgumentParser()
    add_json_argument(parser)
    assert parser.parse_args(["--json", "a/b.json"]).json == Path("a/b.json")
    assert parser.parse_args([]).json is None


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_run_exits_with_what_main_returns(
    capsys: pytest.CaptureFixture[str], returned: int | None, code: int
) -> None:
    assert exit_code_and_message(capsys, lambda: run(lambda: returned)) == (code, "")


def test_run_turns_bad_input_into_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UserError("clip.mp4: there is no such video file.")

    code, message = exit_code_and_message(capsys, lambda: run(main))
    assert code == 2
    assert message == "error: clip.mp4: there is no such video file.\n"


def test_an_error_is_one_short_line_whatever_it_quotes(
    parser: ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    quoted = "a\nb\u2028c\x1b[2J\ud800\0é狗"
    escaped = r"a\nb\u2028c\x1b[2J\ud800\x00é狗"

    def refuse() -> None:
        raise UserError(f"{quoted}{'n' * 5000}: what to do.")

    def lose() -> None:
        raise FileNotFoundError(2, "No such file", quoted)

    code, message = exit_code_and_message(capsys, lambda: run(refuse))
    assert code == 2
    assert message.startswith(f"error: {escaped}nnn")
    assert message.endswith("nnn: what to do.\n")
    assert len(message) < 1100
    assert exit_code_and_message(capsys, lambda: run(lose)) == (
        2,
        f"error: {escaped}: No such file.\n",
    )
    code, message = exit_code_and_message(capsys, lambda: parser.error(quoted))
    assert message == f"error: {escaped}\nSee `script.py --help`.\n"


def test_run_says_that_it_was_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    assert exit_code_and_message(capsys, lambda: run(main)) == (130, "interrupted\n")


def test_run_cleans_up_and_says_that_it_was_terminated(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def main() -> None:
        with atomic_path(tmp_path / "video.mp4"):
            signal.raise_signal(signal.SIGTERM)

    found = signal.getsignal(signal.SIGTERM)
    assert exit_code_and_message(capsys, lambda: run(main)) == (143, "terminated\n")
    assert signal.getsignal(signal.SIGTERM) is found
    assert list(tmp_path.iterdir()) == []


def test_run_names_the_file_that_the_file_system_refuses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "n" * 300
    code, message = exit_code_and_message(capsys, lambda: run(lambda: Path(name).is_file()))
    assert (code, message) == (2, f"error: {name}: File name too long.\n")


@pytest.mark.parametrize("bug", [ValueError("a bug"), OSError("not about a file")])
def test_run_leaves_bugs_their_traceback(bug: Exception) -> None:
    def main() -> None:
        raise bug

    with pytest.raises(type(bug), match=str(bug)):
        run(main)


def test_a_terminal_that_cannot_show_a_character_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown, "ascii", write_through=True))
    with pytest.raises(SystemExit) as caught:
        run(lambda: print("outputs/狗_0.mp4"))
    assert caught.value.code == 0
    assert shown.getvalue() == b"outputs/\\u72d7_0.mp4\n"


@pytest.mark.parametrize("flag", ["--json", "--csv", "--report"])
def test_a_file_that_cannot_be_written_is_refused_with_its_flag(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flag: str
) -> None:
    parser = ArgumentParser(prog="script.py")
    add_output_argument(parser, flag, "a file")
    code, message = exit_code_and_message(capsys, lambda: parser.parse_args([flag, str(tmp_path)]))
    assert code == 2
    assert message.startswith(
        f"error: argument {flag}: {tmp_path} cannot be written: Is a directory."
    )
    arguments = parser.parse_args([flag, str(tmp_path / "new" / "file")])
    remove_unfinished_outputs(arguments)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_program_left_beside_its_file_is_deleted(tmp_path: Path) -> None:
    parser = ArgumentParser(prog="script.py")
    add_output_argument(parser, "--csv", "a file")
    (tmp_path / ".scores-abcdefgh.unfinished.csv").write_text("half")
    (tmp_path / "other.csv").write_text("whole")
    remove_unfinished_outputs(parser.parse_args(["--csv", str(tmp_path / "scores.csv")]))
    assert [path.name for path in tmp_path.iterdir()] == ["other.csv"]


def test_did_you_mean() -> None:
    assert did_you_mean("widht", ["width", "height"]) == " Did you mean 'width'?"
    assert did_you_mean("zzz", ["width", "height"]) == ""


def test_runs_repeat_to_the_bit_and_threads_sleep_while_they_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("MKL_CBWR", "OMP_WAIT_POLICY")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    found: dict[str, str | None] = {}
    with pytest.raises(SystemExit):
        run(lambda: found.update({name: os.environ.get(name) for name in names}))
    assert found == {"MKL_CBWR": "AUTO,STRICT", "OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("evaluation.benchmark", "experiments.paper_table"),
        ("testbed.compare", "experiments.compare"),
        ("testbed.demo", "experiments.demo"),
    ],
)
def test_programs_that_moved_say_where_they_are(
    old: str, new: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(old, run_name="__main__")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"error: this program is now `python -m {new}`.\n"
    assert importlib.util.find_spec(new)
