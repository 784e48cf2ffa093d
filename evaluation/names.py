"""Short names of folders: what differs between their paths."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path


def short_names(paths: Sequence[Path]) -> list[str]:
    """Name folders by the parts of their paths that differ.

    Leading and trailing parts that all paths share are dropped; something of each path stays.

    Args:
        paths: Folders, as the user wrote them.

    Returns:
        One name a folder, all different: a folder that is given twice gets a number.
    """
    all_parts = [path.absolute().parts for path in paths]
    shortest = min(map(len, all_parts), default=0)
    leading = min(_num_common(all_parts), shortest - 1)
    trailing = _num_common([parts[::-1] for parts in all_parts])
    trailing = min(trailing, shortest - leading - 1)
    names: list[str] = []
    for parts in all_parts:
        name = "/".join(parts[leading : len(parts) - trailing])
        times = 1 + sum(parts == other for other in all_parts[: len(names)])
        names.append(f"{name} ({times})" if times > 1 else name)
    return names


def _num_common(sequences: Sequence[Sequence[str]]) -> int:
    """Count how many first entries all sequences share."""
    return len(
        list(takewhile(lambda entries: len(set(entries)) == 1, zip(*sequences, strict=False)))
    )
