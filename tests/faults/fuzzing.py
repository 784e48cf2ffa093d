"""Run scripts in this process on odd inputs and judge how they end."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, Phase, settings

from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.command_line import run
from motionmatcher.config.settings import TrainSettings
from motionmatcher.cost.step import empty_denoiser, lora_size

# Seeded and without a memory of former failures: every run tries the same cases.
fuzz = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    phases=(Phase.generate, Phase.shrink),
)
MAX_LINE = 1100


def cases(number: int) -> settings:
    """The settings of a property that is tried on so many cases."""
    return settings(fuzz, max_examples=number)


def require_clean_end(
    main: Callable[[], Any], arguments: list[str], folder: Path, codes: tuple[int, ...] = (0, 2)
) -> int:
    """Run a script's main function and require an honest end.

    A bug's exception comes through as it is. Bad input must have ended with code 2 and one line, and
    left the folder as it was.

    Args:
        main: The script's main function.
        arguments: Its command line.
        folder: Where the script works; the current one meanwhile.
        codes: Exit codes that are in order.

    Returns:
        The exit code.
    """
    before = listing(folder)
    errors = _Terminal()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(_Terminal()),
        contextlib.redirect_stderr(errors),
        contextlib.chdir(folder),
    ):
        patch.setattr(sys, "argv", ["script.py", *arguments])
        with pytest.raises(SystemExit) as stopped:
            run(main)
    code, said = stopped.value.code or 0, errors.text()
    assert code in codes, f"exit code {code!r}: {said}"
    assert "Traceback" not in said
    if code == 2:
        line = re.sub(r"\nSee `.* --help`.*\n$", "\n", said)
        assert line.startswith("error: ")
        assert line.endswith("\n")
        assert line[:-1].isprintable(), f"not one line of signs that can be shown: {line!r}"
        assert len(line) < MAX_LINE, f"too long: {line[:300]!r}"
        assert listing(folder) == before, "something was written in spite of the error"
    return int(code)


def begin(*_: Any, **__: Any) -> NoReturn:
    """What takes long, in place of which a script ends well."""
    raise SystemExit(0)


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """All paths below a folder with their size and time of change."""
    found = ((path, path.lstat()) for path in sorted(folder.rglob("*")))
    return [(str(path), state.st_size, state.st_mtime_ns) for path, state in found]


@contextlib.contextmanager
def patched(target: str, value: Any) -> Iterator[None]:
    """Replace something by its dotted name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, value)
        yield


@contextlib.contextmanager
def networks_kept() -> Iterator[None]:
    """Build a network for counting once and keep it, for half of the time of a case would go there."""

    def kept(make: Callable[..., Any]) -> Callable[..., Any]:
        made: dict[str, Any] = {}

        def make_once(
            denoiser_class: type[Denoiser], config: Mapping[str, Any], settings: TrainSettings
        ) -> Any:
            lora = (settings.lora_rank, settings.lora_targets, settings.lora_unet_dropout)
            key = repr((denoiser_class, config, lora))
            if key not in made:
                made[key] = make(denoiser_class, config, settings)
            return made[key]

        return make_once

    build = kept(empty_denoiser)
    with (
        patched("motionmatcher.cost.step.empty_denoiser", build),
        patched("motionmatcher.cost.estimate.empty_denoiser", build),
        patched("motionmatcher.cost.step.lora_size", kept(lora_size)),
    ):
        yield


class _Terminal(io.TextIOWrapper):
    """Takes text as a terminal does: what cannot be encoded as UTF-8 is an error on stdout."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self) -> str:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode("utf-8")
