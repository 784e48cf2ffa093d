"""What every script's command line has in common: exact flags, clear errors, exit codes."""

import argparse
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from motionmatcher.environment import settle_environment
from motionmatcher.errors import UserError, did_you_mean, reason_of
from motionmatcher.files import check_output_file, remove_unfinished, writing
from motionmatcher.interruption import Terminated, terminable
from motionmatcher.paths import user_path
from motionmatcher.text_files import is_utf8

BAD_INPUT = 2
INTERRUPTED = 130
TERMINATED = 143
# What flags that name a file to be written leave in a parsed command line.
OUTPUT_FILES = ("json", "csv", "report", "sheet")
# Of an error's line; what is longer quotes something that is.
_MAX_LETTERS = 1000


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations and names the nearest flag to an unknown one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, but name an unknown flag first: argparse would rather miss the one it stood for."""
        arguments = sys.argv[1:] if args is None else args
        for argument in arguments:
            if not is_utf8(argument):  # it could be neither printed nor recorded
                self.error(f"the argument {argument!a} is not UTF-8.")
        for argument in arguments:
            flag = argument.partition("=")[0]
            if flag == "--":
                break
            if re.fullmatch(r"--[\w-]+", flag) and flag not in self._option_string_actions:
                self.error(f"unknown flag {flag}.{did_you_mean(flag, self._option_string_actions)}")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one line that says what is wrong."""
        self.exit(BAD_INPUT, f"error: {one_line(message)}\nSee `{self.prog} --help`.\n")


def add_json_argument(parser: argparse._ActionsContainer) -> None:
    """Add `--json FILE`, which every script that prints metrics has."""
    add_output_argument(parser, "--json", "also write the results to FILE as JSON")


def add_output_argument(parser: argparse._ActionsContainer, flag: str, meaning: str) -> None:
    """Add a file to be written; one that cannot be is refused while the command line is read."""
    assert flag.removeprefix("--") in OUTPUT_FILES
    parser.add_argument(flag, type=_output_file, metavar="FILE", help=meaning)


def remove_unfinished_outputs(arguments: argparse.Namespace) -> None:
    """Delete what killed programs left beside the files that a command line asks for.

    Raises:
        WriteError: The file system refuses.
    """
    for name in OUTPUT_FILES:
        path: Path | None = getattr(arguments, name, None)
        if path is not None:
            with writing(path):
                remove_unfinished(path.parent)


def _output_file(text: str) -> Path:
    path = user_path(text)
    try:
        check_output_file(path)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return path


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a script's main function and exit with its code.

    Bad input (`UserError`) becomes one line on stderr and exit code 2, and so does a file that the file
    system refuses, whichever and why ever. Anything else is a bug and keeps its traceback.

    Args:
        main: Returns the exit code; None stands for 0.
    """
    settle_environment()  # no script imports torch before this
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal or file that cannot show a character must not end a program that is done.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with terminable():
            sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except OSError as error:
        if error.filename is None:
            raise  # it is not about a file
        message = f"{os.fsdecode(error.filename)}: {reason_of(error)}."
        print(f"error: {one_line(message)}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Terminated:
        print("terminated", file=sys.stderr)
        sys.exit(TERMINATED)


def moved(program: str) -> NoReturn:
    """End a program that stands under another name now, which one line gives.

    Args:
        program: What to run instead, as `python -m` takes it.
    """
    print(f"error: this program is now `python -m {program}`.", file=sys.stderr)
    sys.exit(BAD_INPUT)


def one_line(message: str) -> str:
    """Keep a message to one line that does nothing to a terminal, whatever it quotes.

    Args:
        message: Beyond `_MAX_LETTERS` its middle is left out, for its end says what to do.
    """
    line = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message)
    half = _MAX_LETTERS // 2
    return line if len(line) <= _MAX_LETTERS else f"{line[:half]} … {line[-half:]}"


def last_words(printed: bytes) -> str:
    """Find the line that says why a program failed: its error, or else the last it printed."""
    text = printed.decode(errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return [*lines, *errors][-1] if lines else "it printed nothing"
