"""The parts of RESULTS.md that explain: what was compared, under which conditions, how measured."""

from evaluation.intervals import NUM_RESAMPLES
from experiments.comparison.config import ComparisonConfig
from experiments.comparison.measurement import MAX_OBJECT_RADIUS, MIN_TRAVEL
from experiments.comparison.methods import LOSSES, short_title
from motionmatcher.config.settings import TrainSettings

_CONDITIONS = """All methods are options of the ordinary trainer and share everything but the loss
and what the tuning chose for each: `{train_config}`, a LoRA of rank {rank} on {targets}
({modules}), the same training noises and timesteps (t ≥ {min_timestep}) and the same start noises.
In sampling the LoRA is on for t ≥ {min_timestep} only, for all methods alike; below it the base
paints. {sampling_steps} steps of {scheduler}, guidance {guidance:g}. *Noise prior* p: the start
noise is √p times the DDIM inversion of the reference by the base plus √(1−p) times fresh noise; the
base with it, untrained, is *noise prior p alone*. {samples} of each motion, prompt and training
seed.
"""

_MEASURES = """By the renderer's own tracker (`testbed/tracker.py`) against the clip's exact ground
truth, in pixels of 64. *Path error*: mean distance from the reference's place; *centred*: the same
after each path's mean is taken off. *Displacement correlation*: of the steps from frame to frame,
direction included; not for references that travel less than {min_travel:g} px. All three are of
places on the screen, for clips whose camera moves too. *Size*: of the radius. *Camera*: how far
apart both cameras show the same points, at most the frame's diagonal; only where the reference's
camera moves and the prompt's background shows it; one that cannot be followed counts as at rest.

*Resting object*: not a video but a yardstick, an object in the middle of every frame. It moves
nothing, yet paths that cross the frame are near it on average: a low path error alone is no
movement.

No frame is dropped. In a frame without an object, the place counts as any place of the frame (its
error is the mean distance to all pixels), the radius as 0, the step as none. An object with a
radius over {max_radius:g} px is none: the data's have at most 12.5, and a frame that is filled
would count as one in its middle. A training that diverged counts as videos without an object.

*Kept*: part of the videos with the prompt's attribute. *Leaked*: part of the videos with the
reference's attribute where the prompt asks for another one; to be read against the base's own rate.
*Leakage*: mean over colour, shape, background style and background colour. A video without an
object leaks no colour and no shape, so leakage is given a second time of the videos with an object
alone.

In brackets: 95 % intervals, bootstrapped over motions and prompts drawn independently ({resamples}
times), after averaging over training seeds and samples. Percentiles of so few motions are too
narrow, so both ends are moved away from the mean by √(n/(n−1)) · t(0.975, n−1)/1.96 for n motions
(for a share they may pass 0 or 1); where prompts rather than motions make the difference they stay
a little narrow. They speak of motions and prompts like these, not of other bases or training seeds.
*Seconds* are those of one core, the median of the report's trainings; –: all of them diverged.
"""

_MODULES = {
    "attention": "the published Linears",
    "temporal_conv": "Conv3d of the temporal convolutions",
    "spatial_conv": "Conv2d of the residual blocks",
}


def conditions_text(config: ComparisonConfig, settings: TrainSettings) -> list[str]:
    """Say what was compared: the losses and their sources, what all share, the prompts.

    Args:
        config: What was compared.
        settings: The trainer's, of any training of the report.

    Returns:
        Paragraphs of Markdown.
    """
    losses = [f"- *{short_title(method)}*: {LOSSES[method]}." for method in config.methods]
    shared = _CONDITIONS.format(
        train_config=config.train_config,
        rank=settings.lora_rank,
        targets=" and ".join(f"`{target}`" for target in settings.lora_targets),
        modules=", ".join(_MODULES[target] for target in settings.lora_targets),
        min_timestep=settings.min_timestep,
        sampling_steps=config.num_inference_steps,
        scheduler=settings.validation_data.scheduler,
        guidance=settings.validation_data.guidance_scale,
        samples="One video" if config.samples == 1 else f"{config.samples} videos",
    )
    prompts = "\n".join(f"- {prompt.text}" for prompt in config.prompts)
    return [
        "What each trained method minimises:",
        "\n".join(losses),
        shared,
        "The prompts:",
        prompts,
    ]


def measures_text() -> str:
    """Say how the metrics are measured and where intervals come from."""
    return _MEASURES.format(
        min_travel=MIN_TRAVEL,
        max_radius=MAX_OBJECT_RADIUS,
        resamples=f"{NUM_RESAMPLES:,}".replace(",", " "),
    )
