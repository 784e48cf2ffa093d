"""Metrics over folders of videos: prompt fidelity, motion, appearance leakage, human preference.

    from evaluation import score

    scores = score("outputs/videos", reference="clip.mp4")
    for folder in scores.folders:
        for metric in scores.metrics:
            print(folder.name, metric.label, folder.interval(metric).mean)

Works on any folder of videos, whoever made them; nothing here imports training. The functions that
take tensors (`clip_metrics`, `motion_metrics`) are pure; a `Scorer` applies them and a
model to one video; `score` applies scorers to folders; the command lines are shells around it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluation.api import score
    from evaluation.scorers import ScorerSettings
    from evaluation.scoring import Scores

__all__ = ["ScorerSettings", "Scores", "score"]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the modules behind it load slowly."""
    if name not in __all__:
        raise AttributeError(f"module 'evaluation' has no attribute '{name}'")
    from evaluation import api

    return getattr(api, name)
