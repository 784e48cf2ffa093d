"""One self-contained page that shows and compares scored videos; it works offline."""

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from evaluation.folders import ReferenceVideo
from evaluation.metrics import CLIP_T, MOTION_DISCREPANCY
from evaluation.report_data import clip_data_uri, motion_data
from evaluation.report_html import (
    folder_section,
    footnotes,
    reference_card,
    summary_table,
    video_card,
    video_table,
)
from evaluation.scoring import Scores
from motionmatcher.files import write_text
from motionmatcher.tracking.camera import MotionAnalysis

PAGE_DIR = Path(__file__).parent / "report_page"
SCRIPTS = ("player.js", "tracks.js", "charts.js", "tables.js")


def write_report(
    path: Path,
    scores: Scores,
    reference: ReferenceVideo,
    motion: MotionAnalysis,
    uris: Mapping[Path, str],
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        scores: What was measured, with the motion of every video.
        reference: The reference clip.
        motion: Its motion.
        uris: The scored videos, by file, as `clip_data_uri` gives them.
    """
    frames = reference.frames
    details = f"{frames.shape[2]} × {frames.shape[1]}, {len(frames)} frames, {reference.fps:g} fps"
    uri = clip_data_uri(frames, reference.duration_s)
    sections = [reference_card(reference.path.name, uri, details)]
    motions = {"reference": motion_data(motion)}
    for series, (name, folder) in enumerate(zip(scores.names, scores.folders, strict=True)):
        cards = []
        for number, scored in enumerate(folder.videos):
            key = f"{series}-{number}"
            if scored.scores.motion is not None:
                motions[key] = motion_data(scored.scores.motion)
            uri = uris[scored.video.path]
            cards.append(video_card(scored, key, uri, scores, series))
        sections.append(folder_section(folder, name, series, cards))
    data = {
        "doubt": scores.doubts.get(MOTION_DISCREPANCY.name),
        "frames": len(frames),
        "duration": reference.duration_s,
        "motions": motions,
        "comparison": comparison_data(scores),
    }
    write_text(path, page(reference.path.name, scores, sections, data))


def page(name: str, scores: Scores, sections: list[str], data: Mapping[str, Any]) -> str:
    """Fill the template. Its policy lets only our own script run, whatever the texts say."""
    style = read_asset("style.css")
    script = "\n".join(read_asset(file) for file in SCRIPTS)
    return Template(read_asset("page.html")).substitute(
        style=style,
        style_hash=policy_hash(style),
        script=script,
        script_hash=policy_hash(script),
        name=escape(name),
        subtitle=escape(_subtitle(scores)),
        summary=summary_table(scores),
        videos=video_table(scores),
        reference=sections[0],
        folders="".join(sections[1:]),
        footnotes=footnotes(scores),
        last_frame=data["frames"] - 1,
        frames=data["frames"],
        data=json_for_html(data),
    )


def comparison_data(scores: Scores) -> list[dict[str, Any]]:
    """Give each folder's CLIP-T and motion discrepancy, when there are several to compare."""
    metrics = {metric.name: metric for metric in scores.metrics}
    if len(scores.folders) < 2 or CLIP_T.name not in metrics:
        return []
    return [
        {
            "name": name,
            "x": vars(folder.interval(metrics[MOTION_DISCREPANCY.name])),
            "y": vars(folder.interval(metrics[CLIP_T.name])),
        }
        for name, folder in zip(scores.names, scores.folders, strict=True)
    ]


def json_for_html(data: Mapping[str, Any]) -> str:
    """Write JSON that can stand in a script element: no text in it can end the element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _subtitle(scores: Scores) -> str:
    videos = sum(len(folder.videos) for folder in scores.folders)
    folders = len(scores.folders)
    made_of = f"{videos} videos" if videos != 1 else "1 video"
    return f"{made_of} in {folders} folder{'s' if folders != 1 else ''} against one reference clip"


def read_asset(name: str) -> str:
    """Read a file that pages are made of: style, script, template."""
    return (PAGE_DIR / name).read_text(encoding="utf-8")


def policy_hash(text: str) -> str:
    """Name a style or script in a page's policy, which lets no other one in."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
