"""Compare motion customisation methods on Moving Shapes: python -m experiments.compare

Tunes each method on four motions, measures all on eight others by the renderer's ground truth, and
writes RESULTS.md, a CSV and pictures. The work is in cells, each a file: stop it at any time, and the
same command goes on.
"""

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionmatcher.command_line import INTERRUPTED, ArgumentParser, add_json_argument, run
from motionmatcher.config.bounds import whole_number
from motionmatcher.paths import input_path, shipped

if TYPE_CHECKING:
    from experiments.comparison.config import ComparisonConfig
    from experiments.comparison.outcome import Outcome
    from experiments.comparison.workers import Bench, Result

DEFAULT_CONFIG = "experiments/comparison.yaml"
QUICK_CONFIG = "experiments/comparison_quick.yaml"
DEFAULT_WORKERS = 2
MAX_WORKERS = 1024


def main() -> int:
    """Parse the command line, make the cells, write the results."""
    parser = ArgumentParser(prog="python -m experiments.compare", description=__doc__)
    parser.add_argument(
        "--config", type=input_path, default=shipped(DEFAULT_CONFIG), help="what is compared"
    )
    parser.add_argument("--base", metavar="FOLDER", help="the base (default: the config's)")
    parser.add_argument(
        "--quick", action="store_true", help=f"minutes: with the changes of {QUICK_CONFIG}"
    )
    parser.add_argument(
        "--workers",
        type=whole_number(1, MAX_WORKERS),
        default=DEFAULT_WORKERS,
        help="processes of one thread each",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list the cells and the hours they need"
    )
    add_json_argument(parser)
    arguments = parser.parse_args()
    from experiments.comparison.cells import SCRATCH_PREFIX, check_motions, tuning_cells
    from experiments.comparison.config import load_comparison
    from experiments.comparison.markdown import MIN_MOTIONS, SMALL_TRIAL
    from experiments.jobs.resumable import exclusive
    from experiments.jobs.workers import worker_pool

    files = [arguments.config, *([shipped(QUICK_CONFIG)] if arguments.quick else [])]
    config = load_comparison(*files)
    check_motions(config)
    bench = open_bench(config, arguments.base)
    for cell in (*tuning_cells(config), *later_cells(bench)):
        bench.job(cell)  # every setting is checked before the first cell is made
    if arguments.dry_run:
        print_plan(bench, arguments.workers)
        return 0
    try:
        with (
            exclusive(Path(config.cells_dir), SCRATCH_PREFIX),
            worker_pool(arguments.workers) as pool,
        ):
            outcome, summary = compare(bench, pool, command(arguments), arguments.workers)
    except KeyboardInterrupt:
        print(
            f"interrupted: finished cells are kept in {config.cells_dir}; the same command goes on",
            file=sys.stderr,
        )
        return INTERRUPTED
    for verdict in outcome.verdicts:
        print(f"- {verdict.sentence}")
    if len(config.report.motions) < MIN_MOTIONS:
        print(SMALL_TRIAL)
    print(f"written: {Path(config.results_dir) / 'RESULTS.md'}")
    if arguments.json:
        from motionmatcher.files import write_json

        write_json(arguments.json, summary)
    bench.require_made(["ablation"])
    return 0


def open_bench(config: "ComparisonConfig", base_folder: str | None) -> "Bench":
    """Find the base and prepare to make cells with it.

    Raises:
        UserError: There is no base, or its weights are missing.
    """
    from experiments.comparison.cells import cell_settings, tuning_cells
    from experiments.comparison.workers import Bench
    from motionmatcher.bases.layout import find_base

    first = cell_settings(config, base_folder, tuning_cells(config)[0])
    layout = find_base(first.pretrained_model_path, motion_adapter=first.motion_adapter_path)
    layout.require_weights()
    return Bench(config, base_folder, layout)


def later_cells(bench: "Bench") -> list[Any]:
    """List report and ablations as far as the tuning has come: with any choice, before it is made."""
    from experiments.comparison.cells import (
        ablation_cells,
        placeholder_choices,
        report_cells,
        tuning_cells,
    )
    from experiments.comparison.conclusions import tune
    from experiments.comparison.methods import FEATURE_MATCHING
    from experiments.comparison.rows import rows_of

    tuning = tuning_cells(bench.config)
    results = bench.results(tuning)
    choices = placeholder_choices(bench.config)
    if len(results) == len(tuning):
        choices = tune(rows_of(results, bench.config), bench.config)[1]
    chosen = choices[FEATURE_MATCHING]
    return [*report_cells(bench.config, choices), *ablation_cells(bench.config, chosen)]


def compare(
    bench: "Bench", pool: Any, command_line: str, workers: int
) -> "tuple[Outcome, dict[str, Any]]":
    """Make all cells and write all results.

    Args:
        bench: Makes the cells.
        pool: An executor.
        command_line: For RESULTS.md.
        workers: How many processes the pool has, for RESULTS.md.

    Returns:
        What came out, and the same as plain values.

    Raises:
        UserError: A cell of tuning or report could not be made; all others are.
    """
    from experiments.comparison.cells import ablation_cells, report_cells, tuning_cells
    from experiments.comparison.conclusions import conclude, tune
    from experiments.comparison.methods import FEATURE_MATCHING
    from experiments.comparison.results import provenance, write_results
    from experiments.comparison.rows import rows_of
    from experiments.comparison.workers import bar_over, seconds_per_step

    config = bench.config
    tuning_list = tuning_cells(config)
    with bar_over(len(tuning_list) + len(later_cells(bench))) as bar:
        tuning_results = bench.make(tuning_list, pool, bar)
        tuning = rows_of(tuning_results, config)
        # Methods whose tuning is not whole wait; the others go on.
        incomplete = {cell.method for cell in bench.failures}
        tuned = replace(config, methods=[m for m in config.methods if m not in incomplete])
        _, choices = tune(tuning, tuned)
        report_list = report_cells(tuned, choices)
        report_results = bench.make(report_list, pool, bar)
        ablation_list, ablation_results = [], []
        if FEATURE_MATCHING in choices:
            ablation_list = ablation_cells(config, choices[FEATURE_MATCHING])
            ablation_results = bench.make(ablation_list, pool, bar)
    bench.require_made(["tuning", "report"])
    report, ablation = rows_of(report_results, config), rows_of(ablation_results, config)
    seconds = {method: seconds_per_step(report_results, method) for method in config.methods}
    missing = [cell.description for cell in ablation_list if cell in bench.failures]
    outcome = conclude(config, tuning, report, ablation, seconds, missing)
    results = [*tuning_results, *report_results, *ablation_results]
    summary = write_results(
        bench,
        outcome,
        [*tuning, *report, *ablation],
        report_list,
        results,
        provenance(bench, results, command_line, workers),
    )
    return outcome, summary


def command(arguments: Namespace) -> str:
    """Repeat the command line as it matters for the results, without this machine's folders."""
    words = ["python -m experiments.compare"]
    if arguments.quick:
        words.append("--quick")
    if arguments.config != shipped(DEFAULT_CONFIG):
        words.append(f"--config {arguments.config.name}")
    if arguments.base:
        words.append(f"--base {Path(arguments.base).name}")
    return " ".join([*words, f"--workers {arguments.workers}"])


def print_plan(bench: "Bench", workers: int) -> None:
    """Print what there is to do, and an estimate of the time."""
    from experiments.comparison.cells import num_videos, tuning_cells
    from experiments.comparison.methods import BASE

    cells = [*tuning_cells(bench.config), *later_cells(bench)]
    measured: list[Result] = bench.results(cells)
    print(f"{'part':<10}{'cells':>7}{'made':>6}{'steps':>9}{'videos':>8}{'minutes left':>14}")
    total = 0.0
    for stage in ("tuning", "report", "ablation"):
        part = [cell for cell in cells if cell.stage == stage]
        made = sum(bench.path(cell).is_file() for cell in part)
        steps = sum(max(cell.steps) for cell in part if cell.method != BASE)
        videos = sum(num_videos(bench.config, cell) for cell in part)
        minutes = bench.estimate_seconds(part, measured) / 60 / workers
        total += minutes
        print(f"{stage:<10}{len(part):>7}{made:>6}{steps:>9}{videos:>8}{minutes:>14.1f}")
    source = f"measured on {len(measured)} cells" if measured else "assumed by the config"
    print(f"{total / 60:.1f} hours left with {workers} workers of one thread; seconds {source}")


if __name__ == "__main__":
    run(main)
