"""Compare motion customisation methods on Moving Shapes: python -m experiments.compare

Decides feature matching's settings and tunes each method on four motions, measures all on eight others
by the renderer's ground truth, and writes RESULTS.md, cells.csv and pictures. The work is in cells, each
a file: stop it at any time, and the same command goes on. See docs/comparison.md.
"""

import sys
from functools import partial
from pathlib import Path

from motionmatcher.command_line import INTERRUPTED, ArgumentParser, add_json_argument, run
from motionmatcher.config.bounds import whole_number
from motionmatcher.paths import input_path, shipped

DEFAULT_CONFIG = "experiments/compare/transformer.yaml"
QUICK_CONFIG = "experiments/compare/quick.yaml"
MAX_WORKERS = 1024


def main() -> int:
    """Parse the command line, make the cells, write the results."""
    parser = ArgumentParser(prog="python -m experiments.compare", description=__doc__)
    add = parser.add_argument
    add("--config", type=input_path, default=shipped(DEFAULT_CONFIG), help="what is compared")
    add("--base", metavar="FOLDER", help="the base (default: the config's)")
    add("--quick", action="store_true", help=f"minutes: with the changes of {QUICK_CONFIG}")
    add("--workers", type=whole_number(1, MAX_WORKERS), default=2, help="processes of one thread")
    add("--dry-run", action="store_true", help="list the cells and the hours they need")
    add("--analyse", action="store_true", help="only write the results again, from cells.csv")
    add_json_argument(parser)
    arguments = parser.parse_args()
    from experiments.compare.bench import open_bench
    from experiments.compare.cells import SCRATCH_PREFIX, check_motions
    from experiments.compare.config import load_comparison
    from experiments.compare.pictures import write_sheets
    from experiments.compare.report import MADE, write_results
    from experiments.compare.rows import read_rows, write_rows
    from experiments.compare.stages import walk
    from experiments.jobs.resumable import exclusive
    from experiments.jobs.workers import worker_pool
    from motionmatcher.files import write_json

    files = [arguments.config, *([shipped(QUICK_CONFIG)] if arguments.quick else [])]
    config = load_comparison(*files)
    check_motions(config)
    folder = Path(config.results_dir)
    if arguments.analyse:
        write_results(folder, read_rows(folder / "cells.csv"), arguments.json)
        return 0
    bench = open_bench(config, arguments.base)
    stages = list(walk(bench, bench.results))  # checks every setting before the first cell is made
    if arguments.dry_run:
        bench.print_plan([(stage.name, stage.cells) for stage in stages], arguments.workers)
        return 0
    try:
        with (
            exclusive(Path(config.cells_dir), SCRATCH_PREFIX),
            worker_pool(arguments.workers) as pool,
        ):
            stages = list(walk(bench, partial(bench.make, pool=pool)))
    except KeyboardInterrupt:
        print(
            f"interrupted: finished cells are kept in {config.cells_dir}; the same command goes on",
            file=sys.stderr,
        )
        return INTERRUPTED
    write_rows(folder / "cells.csv", [row for stage in stages for row in stage.rows])
    write_json(folder / MADE, bench.provenance([cell for stage in stages for cell in stage.cells]))
    write_sheets(folder, bench, stages[-1].cells)
    write_results(folder, read_rows(folder / "cells.csv"), arguments.json)
    return 0


if __name__ == "__main__":
    run(main)
