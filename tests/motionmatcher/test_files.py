"""Files are written whole or not at all, and prompts make harmless names."""

import json
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from launching import PROJECT, full_disk

from motionmatcher.errors import UserError, WriteError
from motionmatcher.files import (
    atomic_path,
    check_output_file,
    check_writable,
    make_unused_folder,
    remove_unfinished,
    slug,
    unique_slugs,
    unused_path,
    write_json,
    write_text,
)


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
    target = tmp_path / "results.json"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    write_text(target, "old")
    with full_disk(100), pytest.raises(WriteError) as refused:
        write_text(target, "n" * 1000)
    assert str(refused.value).startswith(f"{target} cannot be written: File too large.")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, there = tmp_path / "link.txt", tmp_path / "there" / "file.txt"
    link.symlink_to(there)
    for text in ("made", "replaced"):
        write_text(link, text)
        assert there.read_text() == text
        assert link.is_symlink()
    assert list(there.parent.iterdir()) == [there]


def test_a_fifo_is_written_through(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    check_output_file(fifo)
    writer = threading.Thread(target=write_text, args=(fifo, "through"))
    writer.start()
    assert fifo.read_text() == "through"
    writer.join()
    assert list(tmp_path.iterdir()) == [fifo]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_terminal_is_written_through() -> None:
    master, slave = os.openpty()
    terminal = Path(os.ttyname(slave))
    check_output_file(terminal)
    write_text(terminal, "through")
    assert os.read(master, 100) == b"through"
    assert stat.S_ISCHR(terminal.stat().st_mode)
    os.close(master)
    os.close(slave)


def test_what_the_program_prints_is_kept_beside_what_it_writes_there(tmp_path: Path) -> None:
    program = (
        "from motionmatcher.files import write_text\n"
        "print('before'); write_text('/dev/stdout', 'written\\n'); print('after')"
    )
    with (tmp_path / "output").open("w") as output:
        subprocess.run([sys.executable, "-c", program], cwd=PROJECT, stdout=output, check=True)
    assert (tmp_path / "output").read_text() == "before\nwritten\nafter\n"


@pytest.fixture
def odd_paths(tmp_path: Path) -> dict[str, Path]:
    """Paths that cannot be made into files, by what the message says of them."""
    file, loop = tmp_path / "file", tmp_path / "loop"
    file.write_text("")
    loop.symlink_to(loop)
    (tmp_path / "nothing").symlink_to(tmp_path / "gone" / "gone")
    return {
        "is a file": file / "new",
        "Too many levels of symbolic links": loop / "new",
        "File name too long": tmp_path / "new" / ("n" * 300) / "new",
        "No such file or directory": Path("/proc/new"),
        "/proc": Path("/proc/new/new"),
    }


def test_a_folder_that_cannot_be_made_is_refused_before_it_is_needed(
    odd_paths: dict[str, Path], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    check_writable(tmp_path / "new" / "folder", "output_dir")
    for message, path in (*odd_paths.items(), ("No such file", tmp_path / "nothing")):
        with pytest.raises(UserError, match=message) as refused:
            check_writable(path, "output_dir")
        assert str(refused.value).startswith(f"output_dir {path}")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_cannot_be_written_is_refused_before_it_is_needed(
    odd_paths: dict[str, Path], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    for path in (tmp_path / "file", tmp_path / "new" / "folder" / "new.json"):
        check_output_file(path)
    for message, path in (*odd_paths.items(), ("Is a directory", tmp_path)):
        with pytest.raises(UserError, match=message):
            check_output_file(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_temporary_files_of_the_killed_are_removed_and_those_of_the_living_stay(
    tmp_path: Path,
) -> None:
    program = (
        "import os, signal, sys\n"
        "from motionmatcher.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path: os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = [sys.executable, "-c", program, str(tmp_path / "clip.mp4")]
    subprocess.run(killed, cwd=PROJECT, check=False)
    (left,) = tmp_path.iterdir()
    other = tmp_path / ".not-ours.unfinished.mp4"
    other.write_text("")
    with atomic_path(tmp_path / "clip.mp4") as living:
        remove_unfinished(tmp_path)
        assert not left.exists()
        assert sorted(tmp_path.iterdir()) == sorted([living, other])


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
    write_json(tmp_path / "results.json", {"loss": 0.5, "prompt": "Bär"})
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert text == '{\n  "loss": 0.5,\n  "prompt": "Bär"\n}\n'
    assert json.loads(text) == {"loss": 0.5, "prompt": "Bär"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_write_json_refuses_what_json_has_not(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "results.json", {"loss": value})
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


def test_folders_made_at_once_get_names_of_their_own(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def make(_: int) -> Path:
        barrier.wait()
        return make_unused_folder(tmp_path / "runs" / "train")

    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(make, range(8)))
    assert made == {
        tmp_path / "runs" / f"train{end}" for end in ("", *(f"-{n}" for n in range(2, 9)))
    }


def test_slugs_that_are_equal_get_numbers() -> None:
    texts = ["A cat!", "a cat", "猫" * 40, "?", "A  cat."]
    assert unique_slugs(texts) == ["a-cat", "a-cat-2", "猫" * 16, "prompt", "a-cat-3"]
