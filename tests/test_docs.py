"""The documentation: its links lead to files and headings, its commands name programs and flags."""

import contextlib
import functools
import importlib.util
import io
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from launching import PROJECT

import motionmatcher
from motionmatcher.config.loading import load_settings

PAGES = [
    PROJECT / "README.md",
    PROJECT / "CONTRIBUTING.md",
    *sorted((PROJECT / "docs").glob("*.md")),
]
FLAG = re.compile(r"--?[A-Za-z][\w-]*")
# Programs of others, which are not looked into.
FOREIGN = {"hf", "pip", "source", "ls", "git"}


def name_of(value: object) -> str:
    """The name of a page in a test's name."""
    return value.name if isinstance(value, Path) else str(value)


def without_code(page: Path) -> str:
    """A page's text less its blocks of code and its formulas."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return re.sub(r"\$[^$]+\$|`[^`]+`", "", text)


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(page: Path) -> Iterator[list[str]]:
    """The commands of a page's blocks of bash, each as its words."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"^\w+=\$\((.*)\)$", r"\1", line)
            words = shlex.split(line, comments=True)
            if words:
                yield words


COMMANDS = [(page, words) for page in PAGES for words in commands(page)]


def program_of(words: list[str]) -> tuple[str, list[str]]:
    """A command's program, a script or a module, and its arguments."""
    if words[:2] == ["accelerate", "launch"]:
        words = ["python", *words[2 + 2 * (words[2] == "--num_processes") :]]
    assert words[0].endswith("python"), f"{words[0]} is no program that the documentation may use"
    if words[1] == "-m":
        return words[2], words[3:]
    return words[1], words[2:]


def file_of(program: str) -> Path:
    """The file that a script's or module's name runs."""
    if program.endswith(".py"):
        return PROJECT / program
    spec = importlib.util.find_spec(program)
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin)
    return file.with_name("__main__.py") if spec.submodule_search_locations else file


@functools.cache
def flags_of(program: Path) -> set[str]:
    """All flags that a program's --help lists."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", [program.name, "--help"])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(program), run_name="__main__")
    assert not stopped.value.code
    return set(FLAG.findall(printed.getvalue()))


@functools.cache
def words_of_the_code() -> set[str]:
    """All words of the project's Python files."""
    folders = ("motionmatcher", "evaluation", "experiments", "testbed", "benchmarks", "tests")
    files = list(PROJECT.glob("*.py"))
    files += [file for folder in folders for file in (PROJECT / folder).rglob("*.py")]
    return set(re.findall(r"\w+", " ".join(file.read_text(encoding="utf-8") for file in files)))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert target.is_relative_to(PROJECT)
        assert not heading or heading in headings(target), f"{page.name} links to {link}"


@pytest.mark.parametrize(
    ("page", "words"),
    COMMANDS,
    ids=[f"{page.name}-{' '.join(words)[:60]}" for page, words in COMMANDS],
)
def test_commands_name_what_there_is(page: Path, words: list[str]) -> None:
    if words[0] in FOREIGN:
        return
    if words[0] == "make":
        targets = re.search(r"^\.PHONY: (.+)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
        assert targets is not None
        assert words[1] in targets[1].split()
        return
    if words[0] == "pytest" or words[0].endswith("/pytest"):
        assert all((PROJECT / word).exists() for word in words[1:] if "/" in word)
        return
    program, arguments = program_of(words)
    file = file_of(program)
    assert file.is_file()
    given = [word.partition("=")[0] for word in arguments if FLAG.fullmatch(word.partition("=")[0])]
    flags = [flag for flag in given if flag.startswith("-")]
    assert not flags or set(flags) <= flags_of(file)
    if program == "train.py" and "--config" in arguments:
        overrides = [word for word in arguments if "=" in word]
        load_settings(PROJECT / arguments[arguments.index("--config") + 1], overrides)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names_of_code_are_in_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"`([A-Za-z]+_\w+)`", text)) <= words_of_the_code()


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    for page in (PROJECT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in readme


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r"^## ([\d.]+) - (\S+)$", changelog, re.MULTILINE)
    assert released is not None
    assert citation["version"] == motionmatcher.__version__ == released[1]
    assert str(citation["date-released"]) == released[2]
