"""Which parts a base model can be made of: the only list of what is supported.

A base has four kinds of parts, each picked by the name that its own config file gives, so that they
can be combined freely. A new one is a class in this package and a line here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar


@dataclass(frozen=True, eq=False)
class PartKind:
    """One kind of parts of a base model.

    Attributes:
        folders: Where it may lie in the base's folder.
        config_name: Its config file there.
        key: What in that file names the class.
        classes: Name -> the class of ours that it stands for, as "module:class".
        default: The name that a file without the key means; None when it must be there.
        weight_stems: What its weight files may be called; empty when it has none.
        variants: Name -> a key of the file, and the class that the name stands for when it is true.
    """

    folders: tuple[str, ...]
    config_name: str
    key: str
    classes: dict[str, str]
    default: str | None = None
    weight_stems: tuple[str, ...] = ()
    variants: dict[str, tuple[str, str]] = field(default_factory=dict)

    def find_class(self, name: str, config: Mapping[str, Any]) -> type[Any]:
        """Import the class that a name stands for in a config file."""
        switch, variant = self.variants.get(name, ("", ""))
        path = variant if config.get(switch) else self.classes[name]
        module, _, class_name = path.partition(":")
        found: type[Any] = getattr(import_module(module), class_name)
        return found


PartClass = TypeVar("PartClass")
_DIFFUSERS = ("diffusion_pytorch_model",)
_TRANSFORMERS = ("model", "pytorch_model")
_FLOW = "motionmatcher.diffusion.flow_schedule:FlowSchedule"

DENOISER = PartKind(
    folders=("unet", "transformer"),
    config_name="config.json",
    key="_class_name",
    classes={
        "UNet3DConditionModel": "motionmatcher.bases.unet3d:MotionUNet",
        "UNetMotionModel": "motionmatcher.bases.animatediff:AnimateDiffUNet",
        "WanTransformer3DModel": "motionmatcher.bases.wan:MotionWan",
    },
    weight_stems=_DIFFUSERS,
)
CODEC = PartKind(
    folders=("vae",),
    config_name="config.json",
    key="_class_name",
    classes={
        "AutoencoderKL": "motionmatcher.bases.codecs:FrameCodec",
        "AutoencoderKLWan": "motionmatcher.bases.video_codec:VideoCodec",
    },
    weight_stems=_DIFFUSERS,
)
TEXT = PartKind(
    folders=("text_encoder",),
    config_name="config.json",
    key="model_type",
    classes={
        "clip_text_model": "motionmatcher.bases.texts:ClipText",
        "umt5": "motionmatcher.bases.t5_text:T5Text",
    },
    default="clip_text_model",
    weight_stems=_TRANSFORMERS,
)
SCHEDULE = PartKind(
    folders=("scheduler",),
    config_name="scheduler_config.json",
    key="_class_name",
    # Samplers of diffusers: most configs describe a noise schedule by its betas, some flow matching.
    classes=dict.fromkeys(
        (
            "DDIMScheduler",
            "DDPMScheduler",
            "DEISMultistepScheduler",
            "DPMSolverMultistepScheduler",
            "DPMSolverSinglestepScheduler",
            "EulerAncestralDiscreteScheduler",
            "EulerDiscreteScheduler",
            "HeunDiscreteScheduler",
            "KDPM2AncestralDiscreteScheduler",
            "KDPM2DiscreteScheduler",
            "LMSDiscreteScheduler",
            "PNDMScheduler",
            "UniPCMultistepScheduler",
        ),
        "motionmatcher.diffusion.schedules:NoiseSchedule",
    )
    | {"FlowMatchEulerDiscreteScheduler": _FLOW},
    variants={"UniPCMultistepScheduler": ("use_flow_sigmas", _FLOW)},
    default="DDIMScheduler",
)
# AnimateDiff's layers in time lie in a folder of their own, which no base's folder has to hold.
MOTION_ADAPTER = PartKind(
    folders=("motion_adapter",),
    config_name="config.json",
    key="_class_name",
    classes={"MotionAdapter": "motionmatcher.bases.motion_adapter:MotionLayers"},
    weight_stems=_DIFFUSERS,
)
# The denoiser that they make one of videos: Stable Diffusion's.
ADAPTED = "UNet2DConditionModel"
# In the order in which their files count for a base's fingerprint.
KINDS = (DENOISER, CODEC, TEXT, SCHEDULE)


@dataclass(frozen=True)
class Part(Generic[PartClass]):
    """One part of a base model.

    Attributes:
        kind: What it is.
        folder: The name of its folder within the base's.
        config: What its config file says.
        part_class: The class of ours that it is for.
        place: Its folder, when that lies elsewhere than in the base's.
    """

    kind: PartKind
    folder: str
    config: dict[str, Any]
    part_class: type[PartClass]
    place: Path | None = None
