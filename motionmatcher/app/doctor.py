"""What the window says of a clip before it is trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from motionmatcher.app.commands import read_form_settings
from motionmatcher.inspection.report import inspect_clip
from motionmatcher.inspection.sheet import write_sheet
from motionmatcher.inspection.wording import describe


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        values: The clip's values, one line each.
        notes: What to know or to do, likewise; empty for nothing.
        overrides: The settings that choose better frames; empty for none.
        sheet: A picture of the frames.
    """

    values: list[str]
    notes: list[str]
    overrides: tuple[str, ...]
    sheet: Path


def examine(clip: Path, config: Path, overrides: Sequence[str], sheet: Path) -> Findings:
    """Look at a clip as `inspect_clip --suggest` does, and draw its frames.

    Args:
        clip: The clip.
        config: Settings that choose the frames.
        overrides: `key=value` each; changes to them.
        sheet: The picture to write.

    Raises:
        UserError: As training would refuse it.
    """
    settings = read_form_settings(config, overrides)
    report = inspect_clip(clip, settings, suggest=True, quiet=True)
    write_sheet(sheet, report)
    return Findings(list(describe(report)), report.notes, report.overrides, sheet)
