"""Mutants of Wan's VAE and text encoder, and of how a large text encoder comes and goes."""

from mutation.mutant import Mutant, mutants

VIDEO_CODEC = mutants(
    "motionmatcher/bases/video_codec.py",
    "tests/motionmatcher/bases/test_video_codec.py",
    {
        "latents keep their mean": ("(latents - mean) / std", "latents / std"),
        "decoded latents are not scaled back": (
            "self.device, torch.float32) * std + mean",
            "self.device, torch.float32)",
        ),
        "frames at the end are left out": ("        if left_over:", "        if False:"),
        "deviations of zero are taken": (
            'config.numbers("latents_std", channels, 1e-6, 1e6)',
            'config.numbers("latents_std", channels, 0, 1e6)',
        ),
    },
)

CODECS = mutants(
    "motionmatcher/bases/codecs.py",
    "tests/motionmatcher/bases/test_video_codec.py",
    {
        "patches do not count for the size": ("unit = scale * patch_size", "unit = scale"),
        "tiles are not made": ("        if tiling:", "        if False:"),
    },
)

T5_TEXT = mutants(
    "motionmatcher/bases/t5_text.py",
    "tests/motionmatcher/bases/test_t5_text.py",
    {
        "padding is attended to": ("tokens.input_ids, tokens.attention_mask)", "tokens.input_ids)"),
        "prompts are not cleaned": ('return " ".join(mended.split())', "return prompt"),
        "states of padding stay": ("states[: tokens.attention_mask.sum()]", "states"),
        "the encoder stays": (
            "        del encoder\n",
            "        self._encoder = encoder\n",
        ),
        "known prompts are encoded again": (
            "[prompt for prompt in cleaned if prompt not in self._states]",
            "list(cleaned)",
        ),
        "a device is taken whatever is free": ("if size * 1.1 < free:", "if True:"),
    },
)

TEXT_STATES = mutants(
    "motionmatcher/bases/text_states.py",
    "tests/motionmatcher/bases/test_t5_text.py",
    {
        "states of any encoder count": ('if description.get("encoder") != encoder:', "if False:"),
        "other prompts are dropped": ("    kept |= states", "    kept = dict(states)"),
    },
)

LOADING = mutants(
    "motionmatcher/bases/base_model.py",
    "tests/motionmatcher/bases/test_large_text_encoder.py",
    {
        "prompts are encoded when they are needed": ("    text.prepare(prompts)\n", ""),
        "what a run keeps is not read": ("        text.read_states(text_states)", "        pass"),
    },
)

TILED_REFERENCE = mutants(
    "motionmatcher/clips/reference.py",
    "tests/motionmatcher/bases/test_large_text_encoder.py",
    {
        "latents in tiles pass for whole ones": ("            **tiling,\n", ""),
    },
)

WAN_PARTS: list[Mutant] = [
    *VIDEO_CODEC,
    *CODECS,
    *T5_TEXT,
    *TEXT_STATES,
    *LOADING,
    *TILED_REFERENCE,
]
