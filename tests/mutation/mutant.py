"""What a mutant is: one small fault put into one file on purpose, and the tests that must see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A fault.

    Attributes:
        name: What it does, in a few words.
        file: The file that it is in, from the project's root.
        old: Text that stands there exactly once.
        new: What it becomes.
        tests: Test files or tests, as pytest takes them, that must fail.
        survives: Why no test can tell it from the original; empty for all that must be killed.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    survives: str = ""

    @property
    def title(self) -> str:
        """Its name with its module's, unique in the list."""
        return f"{Path(self.file).stem}: {self.name}"

    def apply(self, root: Path) -> None:
        """Put the fault into a copy of the project.

        Raises:
            LookupError: The text to replace is not there exactly once.
        """
        file = root / self.file
        content = file.read_text(encoding="utf-8")
        found = content.count(self.old)
        if found != 1:
            raise LookupError(f"{self.title}: its text is {found} times in {self.file}, not once.")
        file.write_text(content.replace(self.old, self.new), encoding="utf-8")


def mutants(
    file: str,
    tests: str | Sequence[str],
    changes: Mapping[str, tuple[str, str]],
    survives: Mapping[str, str] | None = None,
) -> list[Mutant]:
    """List the mutants of one file that the same tests must kill.

    Args:
        file: As in `Mutant`.
        tests: As in `Mutant`; one or several.
        changes: Name -> the text and what it becomes.
        survives: Name -> the reason, for those that no test can kill.
    """
    chosen = (tests,) if isinstance(tests, str) else tuple(tests)
    reasons = survives or {}
    return [
        Mutant(name, file, old, new, chosen, reasons.get(name, ""))
        for name, (old, new) in changes.items()
    ]
