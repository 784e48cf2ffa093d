"""The benchmark's table, as Markdown, CSV and a page."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from evaluation.intervals import Interval, bootstrap_interval
from evaluation.metrics import (
    CLIP_T,
    FRAME_CONSISTENCY,
    IMAGE_REWARD,
    MOTION_DISCREPANCY,
    Metric,
)
from evaluation.report import PAGE_DIR
from evaluation.scoring import ScoredFolder, Setting
from experiments.paper_table.motions import Failure, Motion
from motionmatcher.files import atomic_path, write_text

COLUMNS = (CLIP_T, FRAME_CONSISTENCY, IMAGE_REWARD, MOTION_DISCREPANCY)
ALL_MOTIONS = "all motions"
ARROWS = {"higher": "↑", "lower": "↓"}
EXPLANATION = "Means over videos with 95 % bootstrap intervals; n videos."
SHOWN_VIDEOS = 3
# The page runs no script, whatever the texts in it say.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src data:; img-src data:"


@dataclass(frozen=True)
class ScoredMotion:
    """A motion and the scores of its videos.

    Attributes:
        motion: The motion.
        scores: Its videos and their scores.
        metrics: What was measured.
        settings: What the values depend on.
        reference_uri: The reference clip, as `clip_data_uri` gives it.
        video_uris: The first videos, likewise.
    """

    motion: Motion
    scores: ScoredFolder
    metrics: Sequence[Metric]
    settings: Mapping[str, Setting]
    reference_uri: str
    video_uris: Sequence[str]


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name: The motion's.
        n: Number of videos.
        intervals: Mean and interval by metric name.
    """

    name: str
    n: int
    intervals: Mapping[str, Interval]


@dataclass(frozen=True)
class Table:
    """The paper's table.

    Attributes:
        metrics: Its columns.
        rows: One per motion.
        total: All videos of all motions together.
        settings: What the values depend on, as far as it is the same for all motions.
        notes: What is not in it, and why.
    """

    metrics: Sequence[Metric]
    rows: Sequence[Row]
    total: Row
    settings: Mapping[str, Setting]
    notes: Sequence[str]


def make_table(
    motions: Sequence[ScoredMotion],
    left_out: Sequence[str],
    failures: Sequence[Failure],
) -> Table:
    """Average the scores, of the metrics that the paper's table has.

    Args:
        motions: All that were scored, at least one.
        left_out: What was not measured, and why.
        failures: The motions that have no scores.
    """
    columns = [metric for metric in COLUMNS if metric in motions[0].metrics]
    rows = [_row(scored.motion.name, [scored], columns) for scored in motions]
    first, *others = (scored.settings for scored in motions)
    shared = {
        name: value
        for name, value in first.items()
        if all(settings[name] == value for settings in others)
    }
    notes = [f"Left out: {reason}" for reason in left_out]
    notes += [f"Not in the table: {name}: {reason}" for name, reason in failures]
    return Table(columns, rows, _row(ALL_MOTIONS, motions, columns), shared, notes)


def write_markdown(path: Path, table: Table) -> None:
    """Write the table as Markdown."""
    heads = ["Motion", "n", *(f"{m.label} {ARROWS[m.better]}" for m in table.metrics)]
    lines = [heads, [":--", *["--:"] * (len(heads) - 1)]]
    for row in (*table.rows, table.total):
        name = f"**{row.name}**" if row is table.total else row.name.replace("|", "\\|")
        means = [row.intervals[m.name].format(m.digits) for m in table.metrics]
        lines.append([name, str(row.n), *means])
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    notes = "".join(f"- {note}\n" for note in table.notes)
    write_text(path, f"{text}\n{_basis(table)}\n" + (f"\n{notes}" if notes else ""))


def write_csv(path: Path, table: Table) -> None:
    """Write one row per motion; settings are columns, so that tables can be pooled."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        parts = ("", "_low", "_high", "_n")
        columns = [f"{metric.name}{part}" for metric in table.metrics for part in parts]
        writer.writerow(["motion", "n", *columns, *table.settings])
        for row in (*table.rows, table.total):
            values = []
            for metric in table.metrics:
                interval = row.intervals[metric.name]
                values += [interval.mean, interval.low, interval.high, interval.n]
            writer.writerow([row.name, row.n, *values, *table.settings.values()])


def write_page(path: Path, table: Table, motions: Sequence[ScoredMotion]) -> None:
    """Write a self-contained page: the table, and clips of each motion beside its reference.

    Args:
        path: The HTML file; links lead from its folder to the motions' own reports.
        table: The table.
        motions: What it was made of.
    """
    style = (PAGE_DIR / "style.css").read_text(encoding="utf-8")
    heads = ["Motion", "n", *(f"{m.label} {ARROWS[m.better]}" for m in table.metrics)]
    rows = [_html_row(row, table.metrics) for row in (*table.rows, table.total)]
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    sections = [_section(scored, path.parent) for scored in motions]
    write_text(
        path,
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Benchmark</title>
<style>{style}
thead th {{ padding: 0.8rem 0.45rem; color: var(--soft); white-space: normal; }}
thead th:first-child {{ padding-left: 1.25rem; }}
thead th:last-child {{ padding-right: 1.25rem; }}
tbody th {{ padding-left: 1.25rem; }}
tbody tr:last-child > * {{ font-weight: 600; }}
.cards {{ grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); }}
</style>
</head>
<body>
<header><p class="tag">Benchmark</p><h1>{len(table.rows)} motions, {table.total.n} videos</h1>
<p class="lead">{escape(_basis(table))}</p></header>
<main>
<section><div class="scroll" tabindex="0" role="region" aria-label="Table"><table>
<thead><tr>{"".join(f'<th scope="col">{escape(head)}</th>' for head in heads)}</tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>
<ul class="left-out">{notes}</ul></section>
{"".join(sections)}
</main>
</body>
</html>
""",
    )


def _row(name: str, motions: Sequence[ScoredMotion], metrics: Sequence[Metric]) -> Row:
    videos = [video for scored in motions for video in scored.scores.videos]
    intervals = {
        metric.name: bootstrap_interval([video.scores.values[metric.name] for video in videos])
        for metric in metrics
    }
    return Row(name, len(videos), intervals)


def _basis(table: Table) -> str:
    settings = "; ".join(f"{name} {value}" for name, value in table.settings.items())
    return f"{EXPLANATION} {settings}."


def _html_row(row: Row, metrics: Sequence[Metric]) -> str:
    cells = [f'<th scope="row">{escape(row.name)}</th><td>{row.n}</td>']
    for metric in metrics:
        interval, bounds = row.intervals[metric.name], ""
        if interval.low is not None and interval.high is not None:
            low, high = (f"{end:.{metric.digits}f}" for end in (interval.low, interval.high))
            bounds = f'<span class="note interval">{low} – {high}</span>'
        mean = "–" if interval.mean is None else f"{interval.mean:.{metric.digits}f}"
        cells.append(f"<td>{mean}{bounds}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _section(scored: ScoredMotion, folder: Path) -> str:
    """Show a motion's reference and its first videos, playing in a loop."""
    prompt = scored.motion.settings.train_data.first.single_video_prompt
    cards = [_card(scored.reference_uri, "Reference", prompt)]
    for video, uri in zip(scored.scores.folder.videos, scored.video_uris, strict=False):
        cards.append(_card(uri, f"seed {video.seed}", video.prompt or ""))
    report = scored.motion.report_file.relative_to(folder).as_posix()
    return (
        f"<section><h2>{escape(scored.motion.name)}</h2><div class='cards'>{''.join(cards)}</div>"
        f'<p class="hint"><a href="{escape(report)}">All {len(scored.scores.videos)} videos, '
        "with tracks and scores</a></p></section>"
    )


def _card(uri: str, tag: str, prompt: str) -> str:
    return (
        f'<article class="card"><div class="screen"><video src="{uri}" autoplay loop muted playsinline '
        f'aria-label="{escape(prompt)}"></video></div><div class="words"><p class="tag">{escape(tag)}</p>'
        f'<p class="prompt">{escape(prompt)}</p></div></article>'
    )
