"""`choice.json` of a run folder: which checkpoint, noise prior and LoRA scale its videos are made with.

`python -m experiments.choose` writes it, inference takes it for what no flag says.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from motionmatcher.config.bounds import MAX_UPDATES, check_bounds
from motionmatcher.config.declaration import limits
from motionmatcher.config.settings import ValidationData
from motionmatcher.errors import UserError
from motionmatcher.files import write_json
from motionmatcher.text_files import read_json

CHOICE_NAME = "choice.json"
CHOICE_FORMAT = 1
# Key, types, range.
_KEYS: tuple[tuple[str, tuple[type, ...], tuple[float | None, float | None]], ...] = (
    ("checkpoint", (int,), (0, MAX_UPDATES)),
    ("noise_prior", (int, float), limits(ValidationData, "noise_prior")),
    ("lora_scale", (int, float), limits(ValidationData, "lora_scale")),
)


@dataclass(frozen=True, order=True)
class Choice:
    """How a run's videos are made.

    Attributes:
        checkpoint: Its step.
        noise_prior: Share of the reference's noise in the start noise.
        lora_scale: Scale of the LoRA.
    """

    checkpoint: int
    noise_prior: float
    lora_scale: float

    def __str__(self) -> str:
        return (
            f"checkpoint {self.checkpoint}, noise prior {self.noise_prior:g}, "
            f"LoRA scale {self.lora_scale:g}"
        )


def choice_file(run_folder: Path) -> Path:
    """Where a run's choice is."""
    return run_folder / CHOICE_NAME


def write_choice(run_folder: Path, choice: Choice, reasons: Mapping[str, Any]) -> None:
    """Write a run's choice.

    Args:
        run_folder: The run's.
        choice: What was chosen.
        reasons: Why; for people and other programs.
    """
    content = {"format": CHOICE_FORMAT, **asdict(choice), **reasons}
    write_json(choice_file(run_folder), content)


def read_choice(run_folder: Path) -> Choice | None:
    """Read a run's choice; None where none was made.

    Raises:
        UserError: It cannot be read, or a value is missing or out of range.
    """
    file = choice_file(run_folder)
    if not os.path.lexists(file):
        return None
    remedy = "Delete it, or choose again: python -m experiments.choose RUN."
    content = read_json(file, remedy)
    if not isinstance(content, dict) or content.get("format") != CHOICE_FORMAT:
        raise UserError(f"{file} is no choice of format {CHOICE_FORMAT}. {remedy}")
    for name, kind, limits_of in _KEYS:
        value: Any = content.get(name)
        if type(value) not in kind:
            what = "a whole number" if kind == (int,) else "a number"
            raise UserError(f"{file}: '{name}' is not {what}. {remedy}")
        check_bounds(value, *limits_of, f"{file}: '{name}'")
    return Choice(
        content["checkpoint"], float(content["noise_prior"]), float(content["lora_scale"])
    )
