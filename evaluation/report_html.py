"""The report page's texts and tables as HTML; everything that is not ours is escaped here."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from evaluation.intervals import Interval
from evaluation.metrics import Metric
from evaluation.results import position, show_percent
from evaluation.scoring import ScoredFolder, ScoredVideo, Scores

NUM_SERIES = 6


def summary_table(scores: Scores) -> str:
    """Tabulate folders and controls, one row each; any column can be sorted by."""
    best = {metric.name: _best(scores.folders, metric) for metric in scores.metrics}
    rows = []
    for index, (name, folder) in enumerate(zip(scores.names, scores.folders, strict=True)):
        cells = [
            _interval_cell(
                folder.interval(metric),
                metric,
                scores,
                folder.interval(metric).mean == best[metric.name] and len(scores.folders) > 1,
            )
            for metric in scores.metrics
        ]
        rows.append(
            f'<tr class="series-{index % NUM_SERIES}"><th scope="row" title="{escape(folder.name)}" '
            f'data-value="{escape(name)}"><span class="dot"></span>{escape(name)}</th>'
            f'<td data-value="{len(folder.videos)}">{len(folder.videos)}</td>{"".join(cells)}</tr>'
        )
    for name, values in scores.controls.items():
        cells = [_cell(values.get(m.name, math.nan), m, scores) for m in scores.metrics]
        rows.append(
            f'<tr class="control"><th scope="row" data-value="{escape(name)}">{escape(name)}</th>'
            f'<td data-value="">–</td>{"".join(cells)}</tr>'
        )
    head = column_head("Folder", False) + column_head("n", True) + _metric_heads(scores)
    table = sortable_table("summary", "Means with 95 % intervals, and controls", head, rows)
    return table + _doubts(scores)


def video_table(scores: Scores) -> str:
    """Tabulate all videos, one row each."""
    rows = []
    for index, (folder_name, folder) in enumerate(zip(scores.names, scores.folders, strict=True)):
        for scored in folder.videos:
            name = scored.video.path.name
            cells = [_cell(scored.scores.values[m.name], m, scores) for m in scores.metrics]
            rows.append(
                f'<tr class="series-{index % NUM_SERIES}"><th scope="row" '
                f'title="{escape(str(scored.video.path))}" data-value="{escape(folder_name)} '
                f'{escape(name)}"><span class="dot"></span>{escape(name)}'
                f'<span class="note">{escape(folder_name)}</span></th>{"".join(cells)}</tr>'
            )
    head = column_head("Video", False) + _metric_heads(scores)
    return sortable_table("videos", "Every video", head, rows)


def reference_card(name: str, uri: str, details: str) -> str:
    """Show the reference clip."""
    return (
        f'<article class="card reference" data-key="reference">{screen(uri, name)}'
        f'<div class="words"><p class="tag">Reference</p><h3>{escape(name)}</h3>'
        f'<p class="note">{escape(details)}</p></div></article>'
    )


def video_card(scored: ScoredVideo, key: str, uri: str, results: Scores, series: int) -> str:
    """Show one video with its prompt, seed, settings, scores and motion.

    Args:
        scored: The video and its scores.
        key: Where the page's data hold its motion.
        uri: The clip.
        results: All that was measured: its metrics are shown.
        series: The folder's colour.
    """
    video, scores = scored.video, scored.scores
    prompt = escape(video.prompt) if video.prompt else "<em>no prompt</em>"
    seed = f" · seed {video.seed}" if video.seed is not None else ""
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in scores.notes)
    shown = "".join(
        f"<div{_doubted(m, results)}><dt>{escape(m.label)}</dt>"
        f"<dd>{m.format(scores.values[m.name])}</dd></div>"
        for m in results.metrics
    )
    charts = '<div class="charts" aria-hidden="true"></div>' if scores.motion else ""
    return (
        f'<article class="card series-{series % NUM_SERIES}" data-key="{escape(key)}">'
        f"{screen(uri, video.path.name)}"
        f'<div class="words"><h3 class="prompt">{prompt}</h3>'
        f'<p class="note">{escape(video.path.name)}{seed}</p>{notes}{charts}'
        f'<dl class="figures">{shown}</dl>{_settings(video.settings)}</div></article>'
    )


def folder_section(folder: ScoredFolder, name: str, series: int, cards: Sequence[str]) -> str:
    """Put a folder's cards under its short name, with what could not be read."""
    unreadable = "".join(f"<li>{escape(video.reason)}</li>" for video in folder.folder.unreadable)
    broken = f'<ul class="unreadable">{unreadable}</ul>' if unreadable else ""
    return (
        f'<section class="folder series-{series % NUM_SERIES}"><h2 title="{escape(folder.name)}">'
        f'<span class="dot"></span>{escape(name)}</h2>{broken}<div class="cards">'
        f"{''.join(cards)}</div></section>"
    )


def footnotes(scores: Scores) -> str:
    """Say what the metrics are, what they were computed with, and what was left out."""
    metrics = "".join(
        f"<div><dt>{escape(m.label)}</dt><dd>{escape(m.description)} "
        f"{m.better.capitalize()} is better.</dd></div>"
        for m in scores.metrics
    )
    settings = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in scores.settings.items()
    )
    left_out = "".join(f"<li>{escape(reason)}</li>" for reason in scores.left_out)
    missing = f'<h3>Left out</h3><ul class="left-out">{left_out}</ul>' if left_out else ""
    return f"<h3>Metrics</h3><dl>{metrics}</dl><h3>Computed with</h3><dl>{settings}</dl>{missing}"


def screen(uri: str, name: str) -> str:
    """Show a clip, with room for what is drawn over it."""
    return (
        f'<div class="screen"><video src="{uri}" muted playsinline preload="auto" '
        f'aria-label="{escape(name)}"></video><canvas aria-hidden="true"></canvas></div>'
    )


def _settings(settings: Mapping[str, object]) -> str:
    if not settings:
        return ""
    rows = "".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in settings.items()
    )
    return f"<details><summary>Settings</summary><dl>{rows}</dl></details>"


def sortable_table(name: str, caption: str, head: str, rows: Sequence[str]) -> str:
    """Make a table whose rows can be sorted by any column: cells have a `data-value`."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f'<table id="{name}"><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def column_head(label: str, numeric: bool, hint: str = "") -> str:
    """Make the heading of a column that can be sorted by."""
    kind = "number" if numeric else "text"
    return (
        f'<th scope="col" data-kind="{kind}"><button type="button" title="{escape(hint)}">'
        f'{escape(label)}<span class="arrow" aria-hidden="true"></span></button></th>'
    )


def _metric_heads(scores: Scores) -> str:
    return "".join(
        column_head(
            f"{metric.label} †" if metric.name in scores.doubts else metric.label,
            True,
            f"{metric.description} {metric.better.capitalize()} is better.",
        )
        for metric in scores.metrics
    )


def _doubts(scores: Scores) -> str:
    """Say in words which metrics are not to be trusted on this clip."""
    labels = {metric.name: metric.label for metric in scores.metrics}
    reasons = "".join(
        f"<li><strong>{escape(labels[name])}</strong>: {escape(reason)}.</li>"
        for name, reason in scores.doubts.items()
    )
    if not reasons:
        return ""
    return (
        '<div class="doubts"><p>† Not to be trusted on this clip: its own controls say so.</p>'
        f"<ul>{reasons}</ul></div>"
    )


def _doubted(metric: Metric, scores: Scores) -> str:
    """Mark an element whose figure is not to be trusted on this clip."""
    if metric.name not in scores.doubts:
        return ""
    hint = f"Not to be trusted on this clip: {scores.doubts[metric.name]}."
    return f' class="doubted" title="{escape(hint)}"'


def _interval_cell(interval: Interval, metric: Metric, scores: Scores, is_best: bool) -> str:
    if interval.mean is None:
        return _cell(math.nan, metric, scores)
    lines = ""
    if interval.low is not None and interval.high is not None:
        low, high = metric.format(interval.low), metric.format(interval.high)
        lines += f'<span class="note interval">{low} – {high}</span>'
    place = position(interval, metric, scores)
    if place is not None:
        lines += '<span class="note" title="0 % is the reference itself, 100 % the worst '
        lines += f'control ({escape(place[1])})">{escape(show_percent(place[0]))}</span>'
    elif metric.name in scores.doubts:
        lines += '<span class="note">– %</span>'
    mean = metric.format(interval.mean)
    best = f"<strong>{mean}</strong>" if is_best and metric.name not in scores.doubts else mean
    return f'<td data-value="{interval.mean!r}"{_doubted(metric, scores)}>{best}{lines}</td>'


def _cell(value: float, metric: Metric, scores: Scores) -> str:
    sorting = "" if math.isnan(value) else repr(value)
    return f'<td data-value="{sorting}"{_doubted(metric, scores)}>{metric.format(value)}</td>'


def _best(folders: Sequence[ScoredFolder], metric: Metric) -> float | None:
    means = [mean for folder in folders if (mean := folder.interval(metric).mean) is not None]
    if not means:
        return None
    return max(means) if metric.better == "higher" else min(means)
