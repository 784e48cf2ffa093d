"""Parts in processes of their own: what one finds stays, whatever becomes of it and of the others."""

import copy
import time
from collections.abc import Mapping
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest
from processes import start_fork_server

from benchmarks.timed_parts import Part, PartResult, run_parts

LONG = 120.0


def part(name: str, function: str, limit_s: float = LONG, **options: Any) -> Part:
    return Part(name, f"part_examples:{function}", limit_s, options)


def ignore(results: Mapping[str, PartResult]) -> None:
    pass


@pytest.fixture(autouse=True)
def imported_once(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What parts' processes would be forked with; here from the server that all tests have."""
    start_fork_server()
    asked = list[str]()
    monkeypatch.setattr(
        BaseContext, "set_forkserver_preload", lambda context, modules: asked.extend(modules)
    )
    return asked


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended, or is a zombie that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_gone(pids: str) -> None:
    end = time.monotonic() + 20
    while not all(is_gone(int(pid)) for pid in pids.split()):
        assert time.monotonic() < end, f"of {pids} one still runs"
        time.sleep(0.02)


def test_a_part_that_fails_loses_nothing_of_the_others(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    told: list[dict[str, PartResult]] = []
    parts = [
        part("first", "squares", count=3),
        part("fails", "failing"),
        part("hangs", "hanging", limit_s=4.0, pids=str(pids)),
        part("dies", "killed"),
        part("last", "squares", count=2),
    ]
    results = run_parts(
        parts, {}, LONG, lambda each: told.append(copy.deepcopy(dict(each))), "forkserver"
    )
    found = {name: [each["square"] for each in result.found] for name, result in results.items()}
    assert found == {"first": [0, 1, 4], "fails": [0], "hangs": [1], "dies": [4], "last": [0, 1]}
    assert {name: (result.state, result.reason) for name, result in results.items()} == {
        "first": ("done", None),
        "fails": ("failed", "RuntimeError: the fan stands still"),
        "hangs": ("stopped", "stopped after 4 s, its time"),
        "dies": ("failed", "ended by SIGKILL"),
        "last": ("done", None),
    }
    log = results["fails"].log
    assert log is not None
    assert log.startswith("a line before\n")
    assert 'raise RuntimeError("the fan stands still")' in log
    assert results["first"].log is None
    assert 4 <= results["hangs"].seconds < 30
    wait_until_gone(pids.read_text())
    # It was told when it was found, not at the end.
    assert any(each["hangs"].state == "running" and each["hangs"].found for each in told)
    assert told[0]["last"] == PartResult()
    assert told[-1] == results


def test_a_part_that_is_killed_while_it_tells_loses_only_that() -> None:
    parts = [part("cut short", "cut_short"), part("last", "squares", count=1)]
    results = run_parts(parts, {}, LONG, ignore, "forkserver")
    assert results["cut short"].found == [{"square": 9}]
    assert results["cut short"].reason == "ended by SIGKILL"
    assert results["last"].state == "done"


def test_what_parts_need_is_imported_once_for_all_their_processes(
    imported_once: list[str],
) -> None:
    parts = [part("squares", "squares", count=1), part("more", "squares", count=1)]
    parts += [Part("fit", "benchmarks.scaling:fit_exponent", LONG)]
    run_parts(parts, {}, 0.0, ignore, "forkserver")
    assert imported_once == ["benchmarks.scaling", "part_examples"]


def test_what_has_not_begun_when_all_time_is_over_is_left_out(tmp_path: Path) -> None:
    parts = [
        part("hangs", "hanging", pids=str(tmp_path / "pids")),
        part("late", "squares", count=1),
    ]
    results = run_parts(parts, {}, 3.0, ignore, "forkserver")
    assert results["hangs"].reason == "stopped after 3 s, its time"
    assert results["late"] == PartResult("left out", reason="all 3 s were over before it began")


def test_what_runs_beside_the_others_runs_at_their_time(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    waiting = Part("waits", "part_examples:waiting_for", 20.0, beside=True)
    results = run_parts(
        [waiting, part("writes", "writing")], {"path": path}, LONG, ignore, "forkserver"
    )
    assert {name: result.state for name, result in results.items()} == {
        "waits": "done",
        "writes": "done",
    }


def test_all_others_run_one_after_the_other(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    parts = [part("waits", "waiting_for", limit_s=1.0), part("writes", "writing")]
    results = run_parts(parts, {"path": path}, LONG, ignore, "forkserver")
    assert {name: result.state for name, result in results.items()} == {
        "waits": "stopped",
        "writes": "done",
    }


def test_an_interruption_ends_what_runs(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def interrupt(results: Mapping[str, PartResult]) -> None:
        if results["hangs"].found:
            raise KeyboardInterrupt

    parts = [part("hangs", "hanging", pids=str(pids))]
    with pytest.raises(KeyboardInterrupt):
        run_parts(parts, {}, LONG, interrupt, "forkserver")
    wait_until_gone(pids.read_text())


def test_processes_of_their_own_from_the_start() -> None:
    """As on a GPU, where a process must not be forked."""
    results = run_parts([part("squares", "squares", count=2)], {}, LONG, ignore, "spawn")
    assert results["squares"].found == [{"square": 0}, {"square": 1}]
    assert results["squares"].state == "done"
