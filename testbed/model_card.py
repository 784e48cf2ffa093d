"""The model card of the exported base, written from what its training and scoring left behind."""

from pathlib import Path
from typing import Any

from motionmatcher.text_files import read_json
from testbed.config import DenoiserConfig, PretrainConfig
from testbed.denoiser import denoiser_name
from testbed.recipe import list_stages
from testbed.score import DEFAULT_BASE
from testbed.score_table import format_scores, format_settings
from testbed.stage import hours_spent, steps_done
from testbed.standards import STANDARDS

_TITLES = {"unet": "Moving Shapes", "transformer": "Moving Shapes, transformer"}
_LAYOUTS = {"unet": "Zeroscope v2", "transformer": "Wan 2.1"}

_CARD = """# {title}

A small text-to-video base in the layout of {layout}: clips of {size} by {size} pixels and
{frames} frames, one coloured shape moving over a background. It is made by this repository from
nothing but its own renderer, so that motion customisation can be tried, tested and measured against
ground truth on a laptop. It knows nothing else, and is of no use for anything else.

## Data

`testbed/scenes.py` draws the clips: circle, square, triangle or star in 8 colours, on 5 styles of
backgrounds in 6 colours, along 7 kinds of paths, some of them growing or shrinking, and with a
moving camera over half of the textured backgrounds. `testbed/captions.py` describes them; the
appearance is always named, motion, places, size and camera in a good part. One in eight of the
combinations of appearance is held out of all training. A seed fixes every clip.{reversal}

## Recipe

    # from nothing, or going on from the last checkpoint
    python -m testbed.pretrain --config testbed/{name}.yaml [--resume]
    # measure; the contact sheet is for looking
    {score} --json models/{name}/scores.json \\
        --sheet resources/{name}/samples.png
    # write this card again, with the scores
    python -m testbed.pretrain --config testbed/{name}.yaml --export

Seed {seed}, {threads} CPU thread(s). What was run for these weights, in wall time on cores shared
with other work:

| stage | steps | of | hours |
|---|---|---|---|
{stages}

The weights are averages over the training steps, stored in fp16.{parts}

## Gates

What each stage had to reach before the next one was built on it (`testbed/gates.py`):

{gates}

## Scores

{scores}
"""


def model_card(config: PretrainConfig, fingerprint: str) -> str:
    """Write the card.

    Args:
        config: Names the states, the gates' values and the scores.
        fingerprint: Of the exported base; scores of other weights are not shown.

    Returns:
        Markdown.
    """
    from testbed.renderer import FRAME_SIZE

    denoiser, name = config.denoiser, config.model_dir.name
    kind = denoiser_name(denoiser)
    return _CARD.format(
        title=_TITLES[kind],
        layout=_LAYOUTS[kind],
        name=name,
        size=FRAME_SIZE,
        frames=denoiser.stages[-1].num_frames,
        reversal=_reversal(denoiser),
        score=_score_command(name),
        seed=config.seed,
        threads=config.num_threads,
        stages=_stage_rows(config),
        parts=_parts(config),
        gates=_gate_lines(config),
        scores=_scores(config, fingerprint),
    )


def _score_command(name: str) -> str:
    flag = "" if name == Path(DEFAULT_BASE).name else f" --base models/{name}"
    return f"python -m testbed.score{flag}"


def _reversal(denoiser: DenoiserConfig) -> str:
    if not denoiser.reversal:
        return ""
    return f"\n{denoiser.reversal:.0%} of the clips are played backwards, and described so."


def _parts(config: PretrainConfig) -> str:
    """Say which parts the recipe takes from elsewhere, and what it trains that does not ship."""
    sentences = []
    if config.autoencoder is None:
        sentences.append(f"The autoencoder is `{config.autoencoder_dir}`.")
    if config.text is None:
        sentences.append(
            f"The text encoder begins as that of `{config.clip_dir}` and is trained along."
        )
    transformer = config.denoiser.transformer
    if transformer is not None and transformer.position_block is not None:
        sentences.append(
            "So is a linear head that has to name each token's frame, row and column from\nthe output "
            f"of block {transformer.position_block} (the first is 0), which does not ship."
        )
    return "".join(f"\n{sentence}" for sentence in sentences)


def _stage_rows(config: PretrainConfig) -> str:
    return "\n".join(
        f"| {stage.title} | {steps_done(stage.state)} | {stage.num_steps} | "
        f"{hours_spent(stage.state):.1f} |"
        for stage in list_stages(config)
    )


def _gate_lines(config: PretrainConfig) -> str:
    lines = []
    for path in sorted(config.state_dir.glob("gate-*.json")):
        values: dict[str, float] = read_json(path)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        lines.append(f"- {path.stem.removeprefix('gate-')}: {shown}")
    return "\n".join(lines) or "None measured yet."


def _scores(config: PretrainConfig, fingerprint: str) -> str:
    path = config.model_dir / "scores.json"
    if not path.is_file():
        return "Not measured yet."
    scores: dict[str, Any] = read_json(path)
    if scores["base"]["fingerprint"] != fingerprint:
        return "Not measured yet for these weights."
    standard = STANDARDS[denoiser_name(config.denoiser)]
    return (
        f"`{_score_command(config.model_dir.name)}`, of the weights with fingerprint {fingerprint}: "
        f"{format_settings(scores, standard)}.\n\n```\n{format_scores(scores, standard)}\n```"
    )
