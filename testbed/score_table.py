"""Lay the scores of a Moving Shapes base out for people."""

from typing import Any

from testbed.standards import Standard, target_results, words_by_chance


def format_settings(scores: dict[str, Any], standard: Standard) -> str:
    """Say in one line what the scores depend on."""
    settings = scores["settings"]
    further = ""
    if settings.get("prompts_per_word"):
        further = " and more up to {prompts_per_word} for each kind of motion words"
    return (
        "{num_prompts} held-out prompts" + further + ", {num_frames} frames, {num_steps} {solver} "
        "steps, guidance {guidance:g}, seed {seed}"
    ).format(**settings, solver=standard.solver)


def format_scores(scores: dict[str, Any], standard: Standard) -> str:
    """Lay the scores out as a table."""
    results = target_results(scores, standard)

    def row(name: str, value: str, yardstick: str = "", key: str = "") -> str:
        verdict = {True: "reached", False: "missed", None: ""}[results.get(key)]
        return f"  {name:<18}{value:>22}{yardstick:>22}  {verdict}".rstrip()

    lines = [f"{'appearance':<20}{'right':>22}{'target':>22}"]
    for name, value in scores["appearance"].items():
        target = f"{standard.appearance[name]:.0%}" if name in standard.appearance else ""
        lines.append(row(name, f"{value:.1%}", target, name))
    if "paths" in scores:
        lines.append(row("in every frame", f"{scores['object_in_every_frame']:.1%}"))
        lines.append(f"{'paths':<20}{'median, part inside':>22}{'data 10th to 90th':>22}")
        for name, values in scores["paths"].items():
            value = f"{values['median']:.2f}, {values['inside']:.0%}"
            bounds = f"{values['data_low']:.2f} to {values['data_high']:.2f}"
            lines.append(row(name, value, bounds, name))
        lines.append(f"{'motion words':<18}{'followed [95 %], prompts':>24}{'chance':>22}")
        for name, values in scores["motion_words"].items():
            interval = f"[{values['followed_low']:.0%}, {values['followed_high']:.0%}]"
            value = f"{values['followed']:.0%} {interval}, {values['prompts']}"
            lines.append(row(name, value, _chance(values, standard, name), f"{name}_words"))
    missed = [name for name, reached in results.items() if not reached]
    lines.append(
        f"{len(results) - len(missed)} of {len(results)} targets reached"
        + (f"; missed: {', '.join(missed)}" if missed else "")
    )
    by_chance = words_by_chance(scores)
    if by_chance and standard.chance_multiples:  # else it is what the targets say
        lines.append(f"words followed no better than by chance: {', '.join(by_chance)}")
    return "\n".join(lines)


def _chance(values: dict[str, float], standard: Standard, words: str) -> str:
    """Chance level, and what of it a target wants exceeded where that is more."""
    multiple = standard.chance_multiple(words)
    times = f", {multiple} times: {multiple * values['chance']:.0%}" if multiple > 1 else ""
    return f"{values['chance']:.0%}{times}"
