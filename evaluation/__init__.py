"""Metrics over folders of videos: prompt fidelity, motion, appearance leakage, human preference.

Works on any folder of videos, whoever made them; nothing here imports training. The functions that
take tensors (`clip_metrics`, `motion_metrics`, `camera`) are pure; a `Scorer` applies them and a
model to one video; the command lines are shells around `scoring.score_folders`.
"""
