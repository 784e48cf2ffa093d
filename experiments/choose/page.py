"""Show what was tried: a plot of the trade-off, and a page with the videos side by side."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from evaluation.folders import ReferenceVideo
from evaluation.intervals import Interval
from evaluation.metrics import Metric
from evaluation.report import json_for_html, policy_hash, read_asset
from evaluation.report_data import clip_data_uri
from evaluation.report_html import column_head, screen, sortable_table
from experiments.choose.rule import MAX_TAKEN_OVER, Decision
from experiments.choose.trials import BASE, Trial
from motionmatcher.clips.video import read_video
from motionmatcher.files import atomic_path, write_text

SHOWN_PROMPTS = 4
SCRIPTS = ("player.js", "tables.js")
MARKERS = "osD^vP*X"  # one a noise prior


def draw_tradeoff(decision: Decision) -> bytes:
    """Draw all settings, motion against looks taken over; best is at the lower left. Gives a PNG."""
    from matplotlib.figure import Figure

    motion, looks = decision.shown_motion, decision.looks
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    steps = sorted({trial.setting.checkpoint for trial in decision.trials})
    priors = sorted({trial.setting.noise_prior for trial in decision.trials})
    for trial in decision.trials:
        setting = trial.setting
        place = trial.mean(looks), trial.mean(motion)
        shade = (steps.index(setting.checkpoint) + 1) / len(steps)
        style: dict[str, Any] = {
            "color": (0.15, 0.35, 0.7, shade),
            "s": 20 + 40 * setting.lora_scale,
        }
        marker = MARKERS[priors.index(setting.noise_prior) % len(MARKERS)]
        axes.scatter(*place, marker=marker, **style)
        axes.annotate(
            f"{setting.checkpoint}", place, (4, 3), textcoords="offset points", fontsize=7
        )
        if setting == decision.chosen:
            axes.scatter(*place, s=260, facecolors="none", edgecolors="C3", label="chosen")
    axes.scatter(0, decision.base.mean(motion), marker="x", color="black", label="base")
    for index, prior in enumerate(priors):
        marker = MARKERS[index % len(MARKERS)]
        axes.scatter([], [], marker=marker, color="tab:blue", label=f"noise prior {prior:g}")
    axes.axvline(MAX_TAKEN_OVER, color="black", linestyle=":", linewidth=1, label="most allowed")
    axes.set_xlabel(f"{looks.label.lower()} (share of the way from the base's to the reference's)")
    axes.set_ylabel(f"{motion.label.lower()} (lower is nearer)")
    axes.set_title("numbers: checkpoints", fontsize=9)
    figure.legend(loc="outside right upper", fontsize=8)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    return drawn.getvalue()


def write_page(
    path: Path,
    name: str,
    decision: Decision,
    reference: ReferenceVideo,
    metrics: Sequence[Metric],
    notes: Sequence[str],
) -> None:
    """Write the page, and its plot beside it as `tradeoff.png`.

    Args:
        path: The HTML file.
        name: What the page is about.
        decision: What was tried and chosen.
        reference: The frames that were trained on.
        metrics: The columns.
        notes: What was left out, and what is not to be trusted.
    """
    plot = draw_tradeoff(decision)
    with atomic_path(path.with_name("tradeoff.png")) as temporary:
        temporary.write_bytes(plot)
    style = read_asset("style.css") + _own("page.css")
    script = "\n".join(read_asset(file) for file in SCRIPTS)
    num_frames = len(reference.frames)
    page = Template(_own("page.html")).substitute(
        style=style,
        style_hash=policy_hash(style),
        script=script,
        script_hash=policy_hash(script),
        name=escape(name),
        recommendation=escape(decision.line),
        plot=f"data:image/png;base64,{base64.b64encode(plot).decode('ascii')}",
        table=_settings_table(decision, reference, metrics),
        footnotes=_footnotes(metrics, notes),
        last_frame=num_frames - 1,
        frames=num_frames,
        data=json_for_html({"frames": num_frames, "duration": reference.duration_s}),
    )
    write_text(path, page)


def _settings_table(
    decision: Decision, reference: ReferenceVideo, metrics: Sequence[Metric]
) -> str:
    prompts = list(dict.fromkeys(video.prompt for video in decision.base.videos))[:SHOWN_PROMPTS]
    heads = [
        column_head("Setting", False),
        *(column_head(prompt, False) for prompt in prompts),
        *(column_head(label, True) for label in ("Checkpoint", "Noise prior", "LoRA scale")),
        *(column_head(metric.label, True, metric.description) for metric in metrics),
    ]
    clip = screen(clip_data_uri(reference.frames, reference.duration_s), reference.path.name)
    empty = '<td data-value=""></td>'
    cells = f'<td class="video" data-value="">{clip}</td>'
    cells += empty * (len(prompts) - 1 + 3 + len(metrics))
    rows = [f'<tr class="reference">{_row_head("reference")}{cells}</tr>']
    ranked = sorted(decision.trials, key=lambda trial: trial.mean(decision.shown_motion))
    for trial in (*ranked, decision.base):
        rows.append(_trial_row(trial, decision, reference, metrics, prompts))
    return sortable_table("settings", "Settings, their figures and videos", "".join(heads), rows)


def _trial_row(
    trial: Trial,
    decision: Decision,
    reference: ReferenceVideo,
    metrics: Sequence[Metric],
    prompts: Sequence[str],
) -> str:
    setting, is_base = trial.setting, trial.setting == BASE
    chosen = setting == decision.chosen
    name = "base" if is_base else f"{setting.checkpoint}, {setting.noise_prior:g}"
    values = (
        ("", "", "")
        if is_base
        else (str(setting.checkpoint), f"{setting.noise_prior:g}", f"{setting.lora_scale:g}")
    )
    cells = []
    for prompt in prompts:
        video = next(video for video in trial.videos if video.prompt == prompt)
        uri = clip_data_uri(read_video(video.path)[0], reference.duration_s)
        cells.append(f'<td class="video" data-value="">{screen(uri, video.path.name)}</td>')
    cells += [f'<td data-value="{value}">{value}</td>' for value in values]
    cells += [_figure(trial.interval(metric), metric) for metric in metrics]
    kind = ' class="chosen"' if chosen else ' class="control"' if is_base else ""
    note = '<span class="note">chosen</span>' if chosen else ""
    return f"<tr{kind}>{_row_head(name, note)}{''.join(cells)}</tr>"


def _row_head(name: str, note: str = "") -> str:
    return f'<th scope="row" data-value="{escape(name)}">{escape(name)}{note}</th>'


def _figure(interval: Interval, metric: Metric) -> str:
    if interval.mean is None:
        return '<td data-value="">–</td>'
    ends = ""
    if interval.low is not None and interval.high is not None:
        low, high = metric.format(interval.low), metric.format(interval.high)
        ends = f'<span class="note interval">{low} – {high}</span>'
    return f'<td data-value="{interval.mean!r}">{metric.format(interval.mean)}{ends}</td>'


def _footnotes(metrics: Sequence[Metric], notes: Sequence[str]) -> str:
    meanings = "".join(
        f"<div><dt>{escape(metric.label)}</dt><dd>{escape(metric.description)} "
        f"{metric.better.capitalize()} is better.</dd></div>"
        for metric in metrics
    )
    said = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<h3>Metrics</h3><dl>{meanings}</dl><h3>Notes</h3><ul class="left-out">{said}</ul>'


def _own(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
