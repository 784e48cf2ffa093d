"""Prompts are read as they are written, and what is lost of them is said."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.errors import UserError
from motionmatcher.prompts import cut_off_note, read_prompts, repetition_notes


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_prompts_has_one_a_line(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("A bär.\r\n\r\n  A\u2028cat and\x85 a\x0b dog. \n狗\n".encode(encoding))
    assert read_prompts(file) == ["A bär.", "A\u2028cat and\x85 a\x0b dog.", "狗"]


def test_a_file_of_prompts_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    for content, message in {
        b"A dog.\nUn caf\xe9.": r"is not UTF-8 \(it may be Windows-1252\): its line 2 has the byte",
        b" \n\xc2\xa0\n": "has no prompt: expected one a line",
    }.items():
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"^--prompts {file} {message}"):
            read_prompts(file)


def test_repetitions_are_said_once() -> None:
    prompts = ["A cat.", "A dog.", "A cat.", "A cat."]
    assert repetition_notes(prompts, "so what") == [
        'the prompt "A cat." is given 3 times: so what.'
    ]


def test_what_is_cut_off_is_named() -> None:
    words = ["<start>", "a", "cat", "in", "the", "rain", "<end>"]
    tokens = range(len(words))

    def decode(ids: Sequence[int]) -> str:
        return " ".join(words[index] for index in ids)

    assert cut_off_note("a cat in the rain", tokens, 7, decode) is None
    assert cut_off_note("a cat\nin  the rain " + 70 * "!", tokens, 5, decode) == (
        f'of the prompt "a cat in the rain {41 * "!"}…" only 5 tokens are read; left out: "the rain"'
    )


@pytest.fixture(scope="module")
def base(base_folder: Path) -> BaseModel:
    import torch

    return load_base_model(find_base(str(base_folder)), torch.device("cpu"))


def test_the_base_does_not_read_what_its_note_names(
    base: BaseModel, caplog: pytest.LogCaptureFixture
) -> None:
    start, end = "a cat " * 10, "é " + "dog " * 40
    whole = base.text.encode([start + end])
    (note,) = base.text.cut_off_notes([start + end, "a cat", "", start + end])
    assert note.startswith('of the prompt "a cat a cat a cat')
    assert "only 77 tokens are read" in note
    left_out = note.partition('left out: "')[2].removesuffix('"')
    assert left_out
    assert (start + end).rstrip().endswith(left_out)
    read = (start + end).rstrip().removesuffix(left_out)
    assert whole.equal(base.text.encode([read]))
    assert not whole.equal(base.text.encode([read.rstrip()[:-1]]))
    assert not caplog.records, "the tokenizer's own warning says less"
