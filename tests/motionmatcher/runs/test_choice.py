"""choice.json: written, read again, and refused where it is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from motionmatcher.errors import UserError
from motionmatcher.runs.choice import Choice, read_choice, write_choice

CHOICE = Choice(checkpoint=150, noise_prior=0.3, lora_scale=1.0)
WRITTEN = {"format": 1, "checkpoint": 150, "noise_prior": 0.3, "lora_scale": 1.0}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert read_choice(tmp_path) is None
    write_choice(tmp_path, CHOICE, {"why": "nearest"})
    assert json.loads((tmp_path / "choice.json").read_text()) == {**WRITTEN, "why": "nearest"}
    assert read_choice(tmp_path) == CHOICE


def test_a_choice_in_words() -> None:
    assert str(CHOICE) == "checkpoint 150, noise prior 0.3, LoRA scale 1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"choice\.json is not valid JSON.*Delete it, or choose again"),
        ("[]", r"choice\.json is no choice of format 1\. Delete it"),
        ({"format": 2}, r"is no choice of format 1"),
        ({"checkpoint": "last"}, r"'checkpoint' is not a whole number\. Delete it"),
        ({"checkpoint": True}, r"'checkpoint' is not a whole number"),
        ({"checkpoint": -1}, r"'checkpoint' must be at least 0, not -1"),
        ({"noise_prior": None}, r"'noise_prior' is not a number"),
        ({"noise_prior": 1.5}, r"'noise_prior' must be at most 1, not 1\.5"),
        ({"lora_scale": "1"}, r"'lora_scale' is not a number"),
    ],
)
def test_what_is_no_choice_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    text = content if isinstance(content, str) else json.dumps({**WRITTEN, **content})
    (tmp_path / "choice.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_choice(tmp_path)
