"""Mutants of AnimateDiff's UNet, and of joining it from a Stable Diffusion and a motion adapter."""

from mutation.mutant import Mutant, mutants

UNET = mutants(
    "motionmatcher/bases/animatediff.py",
    "tests/motionmatcher/bases/test_animatediff.py",
    {
        "videos and frames of an AnimateDiff prompt are mixed up": (
            '"b t d -> (b f) t d"',
            '"b t d -> (f b) t d"',
        ),
        "blocks without cross-attention have no temporal maps": (
            'temporal_blocks = "Motion"',
            'temporal_blocks = "CrossAttn"',
        ),
        "AnimateDiff's LoRA files have no prefix": ('lora_prefix = "unet"', 'lora_prefix = ""'),
        "heads need not divide the widths": ("if any(width % heads", "if False and any(width % heads"),
    },
) + mutants(
    "motionmatcher/bases/layout.py",
    "tests/motionmatcher/bases/test_animatediff.py",
    {"as many frames as there are positions are too many": ("shape[1] > longest", "shape[1] >= longest")},
) + mutants(
    "motionmatcher/cost/step.py",
    "tests/motionmatcher/bases/test_animatediff.py",
    {
        "buffers stay on the CPU": (
            "torch.empty(buffer.shape, dtype=kind, device=device)",
            "torch.empty(buffer.shape, dtype=kind)",
        )
    },
)  # fmt: skip

ADAPTER = mutants(
    "motionmatcher/bases/motion_adapter.py",
    "tests/motionmatcher/bases/test_motion_adapter.py",
    {
        "Stable Diffusion's betas stay": (
            '"beta_schedule": "linear"',
            '"beta_schedule": "scaled_linear"',
        ),
        "steps are spaced as Stable Diffusion's": (
            '"timestep_spacing": "linspace"',
            '"timestep_spacing": "leading"',
        ),
        "the number of heads is the default": ('"num_attention_heads": heads,', ""),
        "motion modules have the default number of heads": (
            'adapter.content.get("motion_num_attention_heads", 8)',
            "8",
        ),
        "norm groups of UNet and adapter may differ": (
            'adapter.match("motion_norm_num_groups", unet, "norm_num_groups", "the UNet\'s", 32)',
            "pass",
        ),
        "what only single frames can have is ignored": ("unet.same(_OF_STABLE_DIFFUSION)", "pass"),
    },
) + mutants(
    "motionmatcher/bases/layout.py",
    "tests/motionmatcher/bases/test_motion_adapter.py",
    {
        "the adapter's config is not in the fingerprint": (
            "files.append(self.path_of(self.motion_adapter) / self.motion_adapter.kind.config_name)",
            "pass",
        ),
    },
)  # fmt: skip

ANIMATEDIFF: list[Mutant] = [*UNET, *ADAPTER]
