"""Scores for a model card, from the JSON of the scoring commands; of a folder, only its name is taken."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from motionmatcher.errors import UserError
from motionmatcher.text_files import read_json

_FORMAT = 1


def read_scores(path: Path) -> list[list[str]]:
    """Read the means that `--json` of `python -m evaluation` wrote, as the rows of a table.

    Returns:
        The head, then one row a metric: its name, which way is better, and its mean in each folder.

    Raises:
        UserError: It is not such a file.
    """
    content = read_json(path, "Give the JSON that python -m evaluation --json wrote.")
    try:
        if content["format"] != _FORMAT:
            raise ValueError
        folders = content["folders"]
        names = ["videos"] if len(folders) == 1 else [str(folder["folder"]) for folder in folders]
        rows = [["metric", "better", *names]]
        for name, metric in content["metrics"].items():
            means = [_mean(folder["mean"][name]) for folder in folders]
            doubt = " (not to be trusted on this clip)" if metric["trusted"] is False else ""
            rows.append([f"{metric['label']}{doubt}", str(metric["better"]), *means])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} holds no scores: give the JSON that python -m evaluation --json wrote."
        ) from error
    return rows


def _mean(interval: Mapping[str, Any]) -> str:
    if interval["mean"] is None:
        return "–"
    between = ""
    if interval["low"] is not None:
        between = f" [{interval['low']:.4g}, {interval['high']:.4g}]"
    return f"{interval['mean']:.4g}{between}, n = {interval['n']}"
