"""What all benchmarks share: their flags, and the page their tables go to."""

import platform
import re
from argparse import Namespace
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from motionmatcher.command_line import ArgumentParser, add_json_argument
from motionmatcher.environment import processor_name
from motionmatcher.files import write_json, write_text
from motionmatcher.paths import user_path

RESULTS = Path(__file__).with_name("RESULTS.md")
_HEAD = (
    "# Benchmarks\n\nWritten by the programs in this folder, each its own section; never by hand.\n"
)


def benchmark_parser(module: str, description: str | None) -> ArgumentParser:
    """Make a parser with the flags that every benchmark has."""
    parser = ArgumentParser(prog=f"python -m benchmarks.{module}", description=description)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument(
        "--results", type=user_path, default=RESULTS, metavar="FILE", help="the page of all results"
    )
    parser.add_argument(
        "--note", default="", help="a sentence beside the figures, such as what else was running"
    )
    add_json_argument(parser)
    return parser


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Make a Markdown table; numbers get four significant digits."""

    def line(cells: Sequence[Any]) -> str:
        shown = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells]
        return f"| {' | '.join(shown)} |"

    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def report(
    arguments: Namespace, title: str | None, values: dict[str, Any], *paragraphs: str
) -> None:
    """Print a benchmark's results, and write them to the page and to the JSON file.

    Args:
        arguments: Of a `benchmark_parser`.
        title: The section, which is replaced or added; None for none.
        values: For the JSON file.
        paragraphs: Text and tables of the section.
    """
    setting = machine(arguments.device)
    body = "\n\n".join([f"{setting} {arguments.note}".strip(), *paragraphs])
    print(body)
    if title is not None:
        write_section(arguments.results, title, body)
    if arguments.json:
        write_json(arguments.json, {"machine": setting, **values})


def write_section(page: Path, title: str, body: str) -> None:
    """Write a section of a page, in the place of the one with its title or after all others."""
    text = page.read_text(encoding="utf-8") if page.is_file() else _HEAD
    section = f"## {title}\n\n{body}\n"
    found = find_section(text, title)
    if found:
        rest = text[found.end() :]
        text = text[: found.start()] + section + (f"\n{rest}" if rest else "")
    else:
        text = f"{text}\n{section}"
    write_text(page, text)


def find_section(text: str, title: str) -> re.Match[str] | None:
    """Find a section in a page's text, up to the next one; None when it has none."""
    return re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", text, re.M | re.S)


def machine(device: str) -> str:
    """Describe where and with what is measured."""
    import torch

    where = f"{processor_name()}, {torch.get_num_threads()} threads"
    if device.startswith("cuda"):
        where = torch.cuda.get_device_name(device)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{where}; {versions}; {date.today().isoformat()}."
