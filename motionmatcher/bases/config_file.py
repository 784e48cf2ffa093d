"""The config files of a base model, whose values are checked when they are asked for."""

import json
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionmatcher.config.bounds import check_bounds
from motionmatcher.errors import UserError, did_you_mean
from motionmatcher.text_files import read_json, shorten

MAX_CHANNELS = 65_536
MAX_LAYERS = 1000


@dataclass(frozen=True)
class BaseFolder:
    """A base model's folder, whose files are asked for by their path in it.

    Attributes:
        name: Path or hub id as the user gave it.
        path: The folder.
        remedy: How to get it whole, for errors.
    """

    name: str
    path: Path
    remedy: str

    def has(self, file: str) -> bool:
        """Tell whether a file is there."""
        return (self.path / file).is_file()

    def require(self, file: str) -> Path:
        """Look up a file that must be there.

        Raises:
            UserError: It is not.
        """
        if not self.has(file):
            raise UserError(
                f"{self.path / file} is missing: {self.name} is not complete. {self.remedy}"
            )
        return self.path / file

    def read(self, file: str) -> "BaseConfig":
        """Read a config file.

        Raises:
            UserError: It is missing, or as of `BaseConfig`.
        """
        return BaseConfig(self.require(file), self.remedy)


class BaseConfig:
    """One config file of a base model, whose values are checked when they are asked for.

    Attributes:
        file: The file.
        content: All that it says.
    """

    def __init__(self, file: Path, remedy: str) -> None:
        """Read the file.

        Args:
            file: A JSON file.
            remedy: How to get it whole, for errors.

        Raises:
            UserError: As `read_json`, or it is no group of keys.
        """
        content = read_json(file, remedy)
        if not isinstance(content, dict):
            raise UserError(
                f"{file} is damaged: it holds a {type(content).__name__}, not keys and values. {remedy}"
            )
        self.file = file
        self.content: dict[str, Any] = content

    def replaced(self, content: dict[str, Any]) -> "BaseConfig":
        """The same file as if it said something else; errors go on naming it."""
        other = copy(self)
        other.content = content
        return other

    def whole(self, key: str, minimum: int, maximum: int, default: int | None = None) -> int:
        """Look up a whole number; without a default, the key must be there."""
        value = self._value(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(key, "be a whole number")
        check_bounds(value, minimum, maximum, f"{self.file}: {key}")
        return value

    def number(
        self, key: str, minimum: float, maximum: float, default: float | None = None
    ) -> float:
        """Look up a number; without a default, the key must be there."""
        value = self._value(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.refuse(key, "be a number")
        check_bounds(value, minimum, maximum, f"{self.file}: {key}")
        return value

    def choice(self, key: str, choices: Collection[str], default: str | None = None) -> str:
        """Look up one of several names; without a default, the key must be there."""
        value = self._value(key, default)
        if not isinstance(value, str) or value not in choices:
            self._refuse_choice(key, value, choices)
        return str(value)

    def choices(self, key: str, choices: Collection[str]) -> list[str]:
        """Look up a list of names."""
        values = self._list(key)
        for value in values:
            if not isinstance(value, str) or value not in choices:
                self._refuse_choice(key, value, choices)
        return values

    def channels(self, key: str, num_groups: int) -> list[int]:
        """Look up a list of widths, each a multiple of the norms' number of groups."""
        values = self._list(key)
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                self.refuse(key, "be a list of whole numbers of 1 or more")
            check_bounds(value, 1, MAX_CHANNELS, f"{self.file}: {key}")
            if value % num_groups:
                self.refuse(key, f"be multiples of norm_num_groups {num_groups}")
        return values

    def numbers(self, key: str, length: int, minimum: float, maximum: float) -> list[float]:
        """Look up a list of numbers."""
        values = self._list(key)
        numbers = [value for value in values if type(value) in (int, float)]
        if len(values) != length or len(numbers) != length:
            self.refuse(key, f"be a list of {length} numbers")
        for value in numbers:
            check_bounds(value, minimum, maximum, f"{self.file}: {key}")
        return numbers

    def blocks(self, **types: Collection[str]) -> list[int]:
        """Look up the widths of a network's blocks, and check each list of their types.

        Args:
            types: Key of such a list -> the types there are.
        """
        num_groups = self.whole("norm_num_groups", 1, MAX_CHANNELS, default=32)
        channels = self.channels("block_out_channels", num_groups)
        for key, choices in types.items():
            if len(self.choices(key, choices)) != len(channels):
                self.refuse(key, f"be {len(channels)}, one for each of block_out_channels")
        return channels

    def switch(self, key: str) -> None:
        """Check that a key is true or false, if it is there."""
        if not isinstance(self.content.get(key, False), bool):
            self.refuse(key, "be true or false")

    def same(self, values: Mapping[str, Any]) -> None:
        """Check that keys, where they are there, have the one value that is supported."""
        for key, value in values.items():
            if self.content.get(key, value) != value:
                self.refuse(key, f"be {shown(value)}")

    def match(
        self,
        key: str,
        other: "BaseConfig",
        other_key: str,
        whose: str,
        default: int | None = None,
    ) -> None:
        """Check that a width is the same as another part's.

        Args:
            key: Of this config.
            other: The other part's config.
            other_key: The same width's key there.
            whose: Whose it is, such as "the VAE's".
            default: What the other part has without that key.

        Raises:
            UserError: Names both files and the widths that differ.
        """
        width, wanted = self.content[key], other.content.get(other_key, default)
        if width != wanted:
            raise UserError(
                f"{self.file}: {key} {width} must be {whose} {other_key} {wanted} ({other.file}): "
                "they are of different models."
            )

    def refuse(self, key: str, wanted: str) -> None:
        """Refuse a key's value.

        Raises:
            UserError: Always.
        """
        raise UserError(f"{self.file}: {key} must {wanted}, not {shown(self.content.get(key))}.")

    def _value(self, key: str, default: Any) -> Any:
        value = self.content.get(key, default)
        if value is None and key not in self.content:
            raise UserError(f"{self.file}: the key {key} is missing.")
        return value

    def _list(self, key: str) -> list[Any]:
        values = self._value(key, None)
        if not isinstance(values, list) or not values:
            self.refuse(key, "be a list")
        assert isinstance(values, list)
        return values

    def _refuse_choice(self, key: str, value: Any, choices: Collection[str]) -> None:
        raise UserError(
            f"{self.file}: {key} must be of {', '.join(choices)}, not {shown(value)}."
            + did_you_mean(str(value), choices)
        )


def shown(value: Any) -> str:
    """Quote a value of a config in an error."""
    return shorten(
        f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )
