"""Files are written whole or not at all, and prompts make harmless names."""

import json
import stat
from pathlib import Path

import pytest

from motionmatcher.files import atomic_path, slug, unique_slugs, unused_path, write_json, write_text


def test_atomic_path_makes_the_folder_and_renames(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "video.mp4"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".mp4"
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_atomic_path_keeps_the_old_file_when_the_block_raises(tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_path_takes_long_names(tmp_path: Path) -> None:
    target = tmp_path / f"{'n' * 240}.txt"
    write_text(target, "long")
    assert target.read_text() == "long"


def test_written_files_have_the_permissions_of_ordinary_ones(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary.txt"
    ordinary.write_text("")
    write_text(tmp_path / "atomic.txt", "")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in sorted(tmp_path.iterdir())]
    assert modes[0] == modes[1]


def test_write_json_is_readable_text(tmp_path: Path) -> None:
    write_json(tmp_path / "figures.json", {"loss": 0.5, "prompt": "Bär"})
    text = (tmp_path / "figures.json").read_text(encoding="utf-8")
    assert text == '{\n  "loss": 0.5,\n  "prompt": "Bär"\n}\n'
    assert json.loads(text) == {"loss": 0.5, "prompt": "Bär"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_write_json_refuses_what_json_has_not(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "figures.json", {"loss": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A bear is walking on rocks.", "a-bear-is-walking-on-rocks"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "prompt"),
        ("C:\\temp\\x", "c-temp-x"),
        ("snake_case", "snake-case"),
        ("", "prompt"),
        ("?!", "prompt"),
        ("Ein Bär", "ein-bär"),
    ],
)
def test_slug(text: str, name: str) -> None:
    assert slug(text) == name


def test_slug_keeps_whole_words() -> None:
    assert slug("one two three", max_bytes=12) == "one-two"
    assert slug("one two three", max_bytes=13) == "one-two-three"
    assert slug("incomprehensibilities", max_bytes=5) == "incom"


def test_slug_counts_bytes_as_file_systems_do() -> None:
    assert slug("ää öö üü", max_bytes=9) == "ää-öö"


def test_unused_path_counts_up(tmp_path: Path) -> None:
    path = tmp_path / "bear.mp4"
    assert unused_path(path) == path
    path.touch()
    assert unused_path(path) == tmp_path / "bear-2.mp4"
    (tmp_path / "bear-2.mp4").touch()
    assert unused_path(path) == tmp_path / "bear-3.mp4"


def test_slugs_that_are_equal_get_numbers() -> None:
    texts = ["A cat!", "a cat", "猫" * 40, "?", "A  cat."]
    assert unique_slugs(texts) == ["a-cat", "a-cat-2", "猫" * 16, "prompt", "a-cat-3"]
