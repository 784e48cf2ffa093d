"""What the page shows, as HTML; every text that comes from outside is escaped here."""

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from motionmatcher.app.commands import BASE, REFERENCE, TRAINED
from motionmatcher.app.comparison import MetricRow, Scores, Video
from motionmatcher.app.curve import LoggedStep, draw_curve, seconds_left
from motionmatcher.app.doctor import Findings
from motionmatcher.app.job import Job
from motionmatcher.command_line import one_line
from motionmatcher.runs.run_folder import Run

_PREVIEW = re.compile(r"step-([0-9]+)_(.+)_([0-9]+)\.mp4")
LOG_LINES = 14


def escaped(text: object) -> str:
    """Escape a text for HTML, and for the templates that gradio makes of it."""
    shown = html.escape(str(text))
    return shown.replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;")


def file_url(path: Path) -> str:
    """Where the page's server gives a file; another one when the file changes."""
    return escaped(f"/gradio_api/file={quote(str(path.resolve()))}?{path.stat().st_mtime_ns}")


def show_error(error: object) -> str:
    """Say what is wrong, in the words of the scripts."""
    return f'<p class="error" role="alert">error: {escaped(one_line(str(error)))}</p>'


def show_hint(text: str) -> str:
    """Say what to do, or that all is well."""
    return f'<p class="hint">{escaped(text)}</p>'


def show_findings(findings: Findings) -> str:
    """Show what was found of a clip."""
    notes = "".join(f"<li>{escaped(note)}</li>" for note in findings.notes)
    values = "".join(f"<li>{escaped(value)}</li>" for value in findings.values)
    told = f"<ul class='notes'>{notes}</ul>" if notes else show_hint("Nothing to remark.")
    alt = "Frames of the clip, and curves of the camera's and the objects' motion"
    picture = f'<img class="sheet" src="{file_url(findings.sheet)}" alt="{alt}">'
    return f"{told}<ul class='values'>{values}</ul>{picture}"


def show_progress(job: Job | None, steps: Sequence[LoggedStep], total: int, made: int) -> str:
    """Show how far a run is, and how its training ended.

    Args:
        job: The training; None when the run was not trained here.
        steps: What it logged.
        total: Steps that it shall make.
        made: The step of its last checkpoint.
    """
    running = job is not None and job.is_running
    done = steps[-1].step if steps else made
    said = [f"step {done} of {total}"] if total else []
    if steps:
        said.append(f"loss {steps[-1].loss:.4g}")
    if running:
        left = seconds_left(steps, total) if steps else None
        said.append("starting" if left is None else f"about {_duration(left)} of steps left")
    bar = f'<progress max="{max(total, 1)}" value="{done}" aria-label="steps made"></progress>'
    return f"{bar}<p>{escaped(', '.join(said))}</p>"


def show_job(job: Job | None) -> str:
    """Say what runs, or how it ended."""
    if job is None:
        return ""
    if job.is_running:
        doing = "stopping" if job.is_stopped else "running"
        return f'<p class="running">{escaped(job.name)}: {doing} …</p>'
    if job.error is not None:
        return show_error(job.error)
    return f"<p>{escaped(job.name)}: {'stopped' if job.is_stopped else 'finished'}.</p>"


def show_log(job: Job | None) -> str:
    """Show the commands of a job, and the last lines that they printed."""
    if job is None:
        return show_hint("Nothing has run yet.")
    commands = "\n".join(map(str, job.commands))
    return (
        f"<p>As typed in the project's folder:</p><pre>{escaped(commands)}</pre>"
        f"<p>{escaped(job.log)}:</p><pre>{escaped(chr(10).join(job.lines()[-LOG_LINES:]))}</pre>"
    )


def show_curve(steps: tuple[LoggedStep, ...], total: int) -> str:
    """Draw a run's loss."""
    if not steps:
        return ""
    label = f"Loss from step {steps[0].step} to {steps[-1].step}: now {steps[-1].loss:.4g}"
    return f'<div class="curve" role="img" aria-label="{label}">{draw_curve(steps, total)}</div>'


def show_previews(run: Run) -> str:
    """Show the previews before the first step and after the last that there are."""
    found: dict[int, list[tuple[Path, str]]] = {}
    for file in sorted(run.samples_folder.glob("step-*.mp4")):
        if match := _PREVIEW.fullmatch(file.name):
            found.setdefault(int(match[1]), []).append((file, match[2].replace("-", " ")))
    shown = sorted({min(found), max(found)}) if found else []
    return "".join(
        f"<h4>{f'step {step}' if step else 'before training'}</h4>"
        + _grid(_figure(file, prompt) for file, prompt in found[step])
        for step in shown
    )


def show_videos(videos: Iterable[Video]) -> str:
    """Show what was generated."""
    return _grid(_figure(video.path, f"{video.prompt} (seed {video.seed})") for video in videos)


def show_comparison(
    folder: Path, trained: Sequence[Video], base: Sequence[Video], scores: Scores | None
) -> str:
    """Show each trained video beside the base's of the same prompt and seed and the reference."""
    others = {(video.prompt, video.seed): video for video in base}
    rows = []
    for video in trained:
        other = others.get((video.prompt, video.seed))
        figures = [_figure(folder / REFERENCE, "reference")]
        figures += [_figure(other.path, _caption("base", BASE, other, scores))] if other else []
        figures.append(_figure(video.path, _caption("trained", TRAINED, video, scores)))
        title = escaped(f"{video.prompt} (seed {video.seed})")
        rows.append(f'<section class="pair"><h4>{title}</h4>{_grid(figures)}</section>')
    return "".join(rows) + (_table(scores.rows) if scores else "")


def show_pack(path: Path, content: str) -> str:
    """Link to a file to take away."""
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    link = f'<a href="{file_url(path)}" download="{escaped(path.name)}">{escaped(path.name)}</a>'
    return f'<p class="download">{link} ({size}): {escaped(content)}</p>'


def _caption(name: str, side: str, video: Video, scores: Scores | None) -> str:
    value = scores.of_videos.get((side, video.path.name)) if scores and scores.trusted else None
    return name if value is None else f"{name}: motion discrepancy {value:.4f}"


def _table(rows: Sequence[MetricRow]) -> str:
    cells = (
        (row.better, _number(row.base), _number(row.trained), escaped(_trust(row))) for row in rows
    )
    body = "".join(
        f"<tr><th scope='row'>{escaped(row.label)}</th><td>{'</td><td>'.join(values)}</td></tr>"
        for row, values in zip(rows, cells, strict=True)
    )
    titles = ("metric", "nearer is", "base", "trained", "on this clip")
    head = "".join(f"<th scope='col'>{title}</th>" for title in titles)
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='Scores'><table>"
        "<caption>How far the motion is from the reference's, mean of the videos</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _trust(row: MetricRow) -> str:
    return "can be trusted" if row.doubt is None else f"not to be trusted: {row.doubt}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"


def _figure(video: Path, caption: str) -> str:
    shown = escaped(caption)
    return (
        f'<figure><video src="{file_url(video)}" controls loop muted autoplay playsinline '
        f'aria-label="{shown}"></video><figcaption>{shown}</figcaption></figure>'
    )


def _grid(figures: Iterable[str]) -> str:
    content = "".join(figures)
    return f'<div class="videos">{content}</div>' if content else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
