"""Measure a GPU: training and sampling of Zeroscope and Wan 1.3B at full size, with random weights.

Each part is a process of its own with a time limit of its own, and what it finds is in the JSON file at once.
Neither weights nor a video reader are needed. What is measured, and why, stands in `benchmarks/gpu_cases.py`.
A run of all parts writes its section of the page of results; with `--parts` or `--quick` none.
"""

import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu_tables import paragraphs, values_of
from benchmarks.results import benchmark_parser, find_section, report, write_section
from benchmarks.timed_parts import RUNNING, WAITING, Part, PartResult, run_parts
from motionmatcher.command_line import run
from motionmatcher.config.bounds import whole_number
from motionmatcher.errors import UserError
from motionmatcher.files import write_json

TITLE = "GPU"
NOT_MEASURED = "No GPU has run `python -m benchmarks.gpu` yet, which writes this section."


def _part(name: str, function: str, limit_s: float, beside: bool = False, **options: Any) -> Part:
    return Part(name, f"benchmarks.gpu_parts:{function}", limit_s, options, beside)


# In the order of their worth, for what comes last may be left out. Limits are for an 80 GB card, with what
# comes beyond what they should take.
PARTS = {
    part.name: part
    for part in (
        # Of all parts it alone may find libraries that no process has read from the disk before.
        _part("card", "card", 90),
        # On the CPU, while the GPU is measured; a share and a ratio need it.
        _part("counts", "counts", 420, beside=True),
        _part("zeroscope", "steps", 125, base="zeroscope"),
        _part("wan", "steps", 170, base="wan"),
        _part("zeroscope-training", "training", 70, base="zeroscope"),
        _part("wan-training", "training", 150, base="wan"),
        _part("zeroscope-sampling", "sampling", 45, base="zeroscope"),
        _part("wan-sampling", "sampling", 60, base="wan"),
        # Compiling takes minutes.
        _part("zeroscope-compiled", "steps", 150, base="zeroscope", compiled=True),
        _part("wan-compiled", "steps", 150, base="wan", compiled=True),
    )
}


def parse_arguments() -> Namespace:
    parser = benchmark_parser("gpu", __doc__)
    parser.set_defaults(device="auto")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        metavar="NAME",
        help=f"only these of {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--minutes",
        type=whole_number(1, 24 * 60),
        default=8,
        help="all may take; what has not begun by then is left out (default: %(default)s)",
    )
    return parser.parse_args()


def choose_card(name: str, quick: bool) -> str:
    """Choose the GPU to measure, or for a try of the program the CPU.

    Args:
        name: As `--device`.
        quick: A CPU will do.

    Raises:
        UserError: There is no CUDA GPU.
    """
    from motionmatcher.devices import choose_device

    device = choose_device(name)
    if device.type == "cuda":
        return str(device)
    if quick:
        return "cpu"
    raise UserError(
        "benchmarks.gpu needs a CUDA GPU, and there is none here: --quick tries the program on a CPU."
        if name == "auto"
        else f"--device {name}: benchmarks.gpu needs a CUDA GPU; --quick tries the program on a CPU."
    )


def line_about(name: str, result: PartResult) -> str:
    """Say how a part stands."""
    if result.state == RUNNING:
        return f"{name}: {result.state}"
    took = f" in {result.seconds:.0f} s, {len(result.found)} found" if result.seconds else ""
    return f"{name}: {result.state}{took}{f': {result.reason}' if result.reason else ''}"


def main() -> None:
    arguments = parse_arguments()
    device = arguments.device = choose_card(arguments.device, arguments.quick)
    parts = [PARTS[name] for name in PARTS if name in (arguments.parts or PARTS)]

    said = dict.fromkeys(PARTS, WAITING)

    def keep(results: Mapping[str, PartResult]) -> None:
        if arguments.json:
            write_json(arguments.json, values_of(results))
        for name, result in results.items():
            if said[name] != result.state:
                said[name] = result.state
                print(line_about(name, result), file=sys.stderr, flush=True)

    results = run_parts(
        parts,
        {"device": device, "quick": arguments.quick},
        60 * arguments.minutes,
        keep,
        # A process that has seen a GPU must not be forked; without one it saves the imports.
        "spawn" if device != "cpu" else "forkserver",
    )
    whole = not (arguments.quick or arguments.parts)
    if arguments.quick and find_section(_text_of(arguments.results), TITLE) is None:
        write_section(arguments.results, TITLE, NOT_MEASURED)
    report(arguments, TITLE if whole else None, values_of(results), *paragraphs(results))


def _text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.is_file() else ""


if __name__ == "__main__":
    run(main)
