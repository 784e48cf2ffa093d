"""The stages of a comparison, each with what those before have chosen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from experiments.compare.analysis import DECIDE, REPORT, TUNING, decisions, tune
from experiments.compare.bench import Bench, Result
from experiments.compare.cells import (
    Cell,
    Choices,
    any_choices,
    base_cells,
    decision_cells,
    report_cells,
    tuning_cells,
)
from experiments.compare.methods import TITLES
from experiments.compare.rows import Row, resting_rows, rows_of
from motionmatcher.errors import UserError


@dataclass(frozen=True)
class Stage:
    """Some cells, and the rows of those that are made."""

    name: str
    cells: Sequence[Cell]
    rows: Sequence[Row]


def walk(bench: Bench, make: Callable[[Sequence[Cell]], list[Result]]) -> Iterator[Stage]:
    """Go through all stages; one that is not made lets the next ones take any choice.

    Args:
        bench: Of the comparison.
        make: Gives the results of cells: `Bench.make`, or `Bench.results` for those there are.

    Raises:
        UserError: A choice of the tuning lies at its grid's edge, and the config wants it inside.
    """
    config, motions = bench.config, bench.config.tuning.motions
    rows: list[Row] = []

    def stage(name: str, cells: Sequence[Cell], more: Sequence[Row] = ()) -> Stage:
        made = [*rows_of(name, make(cells)), *more]
        rows.extend(made)
        return Stage(name, cells, made)

    seeds = max(config.decide.seeds, config.tuning.seeds)
    base = stage(TUNING, base_cells(config, motions, seeds), resting_rows(TUNING, config, motions))
    yield base
    decided: tuple[str, ...] = ()
    for decision in config.decide.decisions:
        cells = decision_cells(config, decided, decision.options)
        options = stage(DECIDE + decision.name, cells)
        yield options
        if bench.all_made([*base.cells, *cells]):
            (found,) = decisions([*base.rows, *options.rows])
            decided = found.chosen.changes
    cells = tuning_cells(config, decided)
    yield stage(TUNING, cells)
    choices = _choices(bench, rows) if bench.all_made(cells) else any_choices(config)
    cells = base_cells(config, config.report.motions, config.report.seeds)
    cells += report_cells(config, decided, choices)
    yield stage(REPORT, cells, resting_rows(REPORT, config, config.report.motions))


def _choices(bench: Bench, rows: Sequence[Row]) -> Choices:
    tuned = tune(rows)
    edges = [f"{TITLES[t.method]} ({t.regime}): {', '.join(t.edges)}" for t in tuned if t.edges]
    if edges and bench.config.tuning.inside:
        raise UserError(
            f"the tuning ended at its grids' edges ({'; '.join(edges)}): extend them in tuning.grids; "
            "what is made is kept."
        )
    return {(each.method, each.regime): each.choice for each in tuned}
