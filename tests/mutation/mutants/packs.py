"""Mutants of motion packs: what is kept back, what is checked, what diffusers is told."""

from mutation.mutant import mutants

PACKS = mutants(
    "motionmatcher/packing/plan.py",
    "tests/scripts/test_pack.py::test_nothing_of_the_clip_unless_asked",
    {
        "the noise prior stays without its noise": (
            "noise_prior=noise_prior if with_noise else 0.0",
            "noise_prior=noise_prior",
        ),
    },
) + mutants(
    "motionmatcher/packing/plan.py",
    "tests/scripts/test_pack.py::test_only_the_clip_s_own_prompt_is_previewed",
    {"the clip's own prompt is shown": ("if each != own]", "if True]")},
) + mutants(
    "motionmatcher/packing/plan.py",
    "tests/scripts/test_pack.py::test_what_is_left_to_fill_in",
    {"paths of this machine are told": ("away = path.is_absolute() or", "away =")},
) + mutants(
    "motionmatcher/packing/plan.py",
    "tests/scripts/test_pack.py::test_a_pack_is_replaced_only_when_asked",
    {
        "a pack is replaced unasked": ("if not overwrite:", "if False:"),
        "any folder is replaced": ("if not (folder / PACK_FILE).is_file():", "if False:"),
    },
) + mutants(
    "motionmatcher/packing/card.py",
    "tests/scripts/test_pack.py::test_diffusers_alone_computes_the_same",
    {"peft scales the LoRA": ("lora_alpha={rank}", "lora_alpha=1")},
) + mutants(
    "motionmatcher/runs/pack_folder.py",
    "tests/motionmatcher/runs/test_pack_folder.py",
    {
        "newer forms are read": ("if found > PACK_FORMAT:", "if False:"),
        "noise of any size is taken": ("if found != (1, *shape):", "if False:"),
        "noise may be missing": ("*([NOISE_FILE] if", "*([] if"),
        "damaged noise is taken": (
            'return require_sound(f"{file}: {_NOISE}", read_tensors(file)[0].get(_NOISE))',
            "return read_tensors(file)[0][_NOISE]",
        ),
        "a pack is written into": ("cache_latents=False", "cache_latents=True"),
    },
) + mutants(
    "motionmatcher/generation/generate.py",
    "tests/scripts/test_pack.py::test_a_pack_makes_the_run_s_videos_without_the_run_or_its_clip",
    {
        "a pack's noise is half of it": (
            "return request.run.inversion_noise()",
            "return request.run.inversion_noise() / 2",
        )
    },
)  # fmt: skip
