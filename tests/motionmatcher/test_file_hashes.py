"""A large file is hashed once, and again as soon as it may be another one."""

import hashlib
import os
from pathlib import Path

import pytest

from motionmatcher import file_hashes
from motionmatcher.file_hashes import file_hash

LONG_AGO = 1_600_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, in which files of any size are remembered at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_hashes, "REMEMBERED_BYTES", 1)
    monkeypatch.setattr(file_hashes, "SETTLED_SECONDS", -1.0)
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"abcdef")
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read to be hashed, in order."""
    read: list[Path] = []
    original = file_hashes._hash

    def note_and_hash(path: Path) -> str:
        read.append(path)
        return original(path)

    monkeypatch.setattr(file_hashes, "_hash", note_and_hash)
    return read


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_large_file_is_hashed_once(file: Path, hashed: list[Path]) -> None:
    assert [file_hash(file) for _ in range(3)] == [sha256(b"abcdef")] * 3
    assert hashed == [file]


def test_a_link_is_the_file_it_leads_to(file: Path, hashed: list[Path]) -> None:
    link = file.with_name("link.bin")
    link.symlink_to(file)
    assert file_hash(file) == file_hash(link) == sha256(b"abcdef")
    assert hashed == [file]


def test_one_byte_counts_wherever_it_lies_and_whatever_time_the_file_claims(
    file: Path, hashed: list[Path]
) -> None:
    os.utime(file, (LONG_AGO, LONG_AGO))
    file_hash(file)
    file.write_bytes(b"abcdeF")
    os.utime(file, (LONG_AGO, LONG_AGO))
    assert file_hash(file) == sha256(b"abcdeF")


def test_a_file_written_just_now_is_not_remembered(
    file: Path, hashed: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hashes, "SETTLED_SECONDS", 60.0)
    file_hash(file)
    file_hash(file)
    assert hashed == [file, file]
    assert not cache.exists()


def test_a_small_file_is_not_remembered(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hashes, "REMEMBERED_BYTES", 7)
    assert file_hash(file) == sha256(b"abcdef")
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"zz", b"\xff" * 64])
def test_a_damaged_memory_is_not_believed(
    file: Path, hashed: list[Path], cache: Path, content: bytes
) -> None:
    file_hash(file)
    (memory,) = (path for path in cache.rglob("*") if path.is_file())
    memory.write_bytes(content)
    assert file_hash(file) == sha256(b"abcdef")
    assert file_hash(file) == sha256(b"abcdef")
    assert hashed == [file, file], "and it is mended"


def test_without_a_place_to_remember_it_is_hashed_again(
    file: Path, hashed: list[Path], cache: Path
) -> None:
    cache.write_text("a file where the folder would be")
    assert file_hash(file) == file_hash(file) == sha256(b"abcdef")
    assert hashed == [file, file]


def test_without_a_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user without one
    monkeypatch.chdir(file.parent)
    assert file_hash(file) == sha256(b"abcdef")
    assert list(file.parent.iterdir()) == [file]
