"""Short names of folders."""

from pathlib import Path

import pytest

from evaluation.names import short_names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/runs/a/videos", "/runs/b/videos"], ["a", "b"]),
        (["/runs/a/videos"], ["videos"]),
        (["/runs/a/1/videos", "/runs/b/2/videos"], ["a/1", "b/2"]),
        (["/runs", "/runs/b"], ["runs", "runs/b"]),
        (["/a/x", "/a/x/x"], ["x", "x/x"]),
        (["/a/x", "/b/x"], ["a", "b"]),
        (["/runs/a", "/runs/a", "/runs/b"], ["a", "a (2)", "b"]),
        ([], []),
    ],
)
def test_names_are_what_differs(paths: list[str], names: list[str]) -> None:
    assert short_names([Path(path) for path in paths]) == names


def test_relative_and_absolute_paths_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    assert short_names([Path("lib/a"), Path("/usr/lib/b")]) == ["a", "b"]
