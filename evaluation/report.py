"""One self-contained page that shows and compares scored videos; it works offline."""

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from tqdm import tqdm

from evaluation.motion_scorer import DISCREPANCY, MotionAnalysis
from evaluation.report_data import clip_data_uri, motion_data
from evaluation.report_html import (
    folder_section,
    footnotes,
    reference_card,
    summary_table,
    video_card,
    video_table,
)
from evaluation.results import Results, row_name
from motionmatcher.clips.video import Frames, read_video
from motionmatcher.files import write_text

PAGE_DIR = Path(__file__).parent / "report_page"
SCRIPTS = ("player.js", "tracks.js", "charts.js", "tables.js")
CLIP_T_NAME = "clip_t"


def write_report(
    path: Path,
    results: Results,
    reference_path: Path,
    reference: Frames,
    fps: float,
    motion: MotionAnalysis,
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        results: What was measured, with the motion of every video.
        reference_path: The reference clip's file, for its name.
        reference: Its frames, uint8 (F, H, W, 3).
        fps: Its frames per second.
        motion: Its motion.
    """
    duration_s = len(reference) / fps
    details = f"{reference.shape[2]} × {reference.shape[1]}, {len(reference)} frames, {fps:g} fps"
    uri = clip_data_uri(reference, duration_s)
    sections = [reference_card(reference_path.name, uri, details)]
    motions = {"reference": motion_data(motion)}
    for series, folder in enumerate(results.folders):
        cards = []
        for number, scored in enumerate(tqdm(folder.videos, desc="report", leave=False)):
            key = f"{series}-{number}"
            if scored.scores.motion is not None:
                motions[key] = motion_data(scored.scores.motion)
            uri = clip_data_uri(read_video(scored.video.path)[0], duration_s)
            cards.append(video_card(scored, key, uri, results.metrics, series))
        sections.append(folder_section(folder, series, cards))
    data = {
        "frames": len(reference),
        "duration": duration_s,
        "motions": motions,
        "comparison": comparison_data(results),
    }
    write_text(path, page(reference_path.name, results, sections, data))


def page(name: str, results: Results, sections: list[str], data: Mapping[str, Any]) -> str:
    """Fill the template. Its policy lets only our own script run, whatever the texts say."""
    style = _read("style.css")
    script = "\n".join(_read(file) for file in SCRIPTS)
    return Template(_read("page.html")).substitute(
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        name=escape(name),
        subtitle=escape(_subtitle(results)),
        summary=summary_table(results),
        videos=video_table(results),
        reference=sections[0],
        folders="".join(sections[1:]),
        footnotes=footnotes(results),
        last_frame=data["frames"] - 1,
        frames=data["frames"],
        data=json_for_html(data),
    )


def comparison_data(results: Results) -> list[dict[str, Any]]:
    """Give each folder's CLIP-T and motion discrepancy, when there are several to compare."""
    metrics = {metric.name: metric for metric in results.metrics}
    if len(results.folders) < 2 or CLIP_T_NAME not in metrics:
        return []
    return [
        {
            "name": row_name(folder),
            "x": vars(folder.interval(metrics[DISCREPANCY.name])),
            "y": vars(folder.interval(metrics[CLIP_T_NAME])),
        }
        for folder in results.folders
    ]


def json_for_html(data: Mapping[str, Any]) -> str:
    """Write JSON that can stand in a script element: no text in it can end the element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _subtitle(results: Results) -> str:
    videos = sum(len(folder.videos) for folder in results.folders)
    folders = len(results.folders)
    made_of = f"{videos} videos" if videos != 1 else "1 video"
    return f"{made_of} in {folders} folder{'s' if folders != 1 else ''} against one reference clip"


def _read(name: str) -> str:
    return (PAGE_DIR / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
