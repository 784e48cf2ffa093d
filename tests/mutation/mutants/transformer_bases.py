"""Mutants of what transformers as bases need: flow matching, attention maps, names of weights."""

from mutation.mutant import Mutant, mutants

FLOW_SCHEDULE = mutants(
    "motionmatcher/diffusion/flow_schedule.py",
    "tests/motionmatcher/diffusion/test_flow_schedule.py",
    {
        "signal and noise are swapped": (
            "return (1 - level).to(like.dtype), level.to(like.dtype)",
            "return level.to(like.dtype), (1 - level).to(like.dtype)",
        ),
        "places are not shifted": ("(1 + (self.shift - 1) * share)", "self.shift"),
        "the base's shift instead of the one asked for": ('{"flow_shift": shift}', "{}"),
        "other spacings are taken for a shift": ("if config.content.get(key):", "if False:"),
        "UniPC may predict anything": (
            "(cls.prediction_type,)",
            '("epsilon", cls.prediction_type)',
        ),
    },
)

FLOW_STEPS = mutants(
    "motionmatcher/diffusion/schedules.py",
    "tests/motionmatcher/diffusion/test_flow_schedule.py",
    {
        "the flow's velocity points to the data": (
            "return noise - latents",
            "return latents - noise",
        ),
    },
)

FLOW_INVERSION = mutants(
    "motionmatcher/diffusion/inversion.py",
    "tests/motionmatcher/diffusion/test_flow_schedule.py",
    {
        "a repetition starts from where the step starts": (
            "prediction = predictor(found, timestep)",
            "prediction = predictor(latents, timestep)",
        ),
        "inversion noise keeps its variance": (
            "return noise / safe",
            "return noise * 1 + 0 * safe",
        ),
        "all channels share their deviation": ("dim=(0, 2, 3, 4)", "dim=(0, 1, 2, 3, 4)"),
    },
)

FLOW_SOLVERS = mutants(
    "motionmatcher/diffusion/solvers.py",
    "tests/motionmatcher/diffusion/test_flow_schedule.py",
    {
        "Euler's steps are not shifted": ("shift=schedule.shift", "shift=1.0"),
        "Euler is taken for UniPC": ('name == "euler"', 'name == "unipc"'),
        "every solver goes with every schedule": ("if name not in names:", "if False:"),
    },
)

ATTENTION_MAPS = mutants(
    "motionmatcher/features/attention_maps.py",
    "tests/motionmatcher/features/test_attention_maps.py",
    {
        "scores are not scaled": ("query * query.shape[-1] ** -0.5 @", "query @"),
        "places and frames are mixed up": ("heads (f place) d ->", "heads (place f) d ->"),
        "the softmax is over the prompt's own tokens": (
            "probabilities(query, key, mask)[..., :num_own].mean(1)",
            "probabilities(query, key[..., :num_own, :], None).mean(1)",
        ),
        "columns and rows are swapped": (
            "column, row = _positions(grid, query).unbind(-1)",
            "row, column = _positions(grid, query).unbind(-1)",
        ),
        "positions are not divided by their frame's share": (
            "torch.stack([column / mass, row / mass], dim=-1)",
            "torch.stack([column, row], dim=-1)",
        ),
        "a frame without attention divides by zero": (
            "mass = mass.clamp(min=torch.finfo(mass.dtype).tiny)",
            "mass = mass.clamp(min=0)",
        ),
        "positions are those of cells' edges": ("+ 0.5) / size", ") / size"),
        "every frame is the first place's": (
            "grid.height * grid.width, dim=0",
            "grid.width * grid.height, dim=1",
        ),
    },
)

WATCHING = mutants(
    "motionmatcher/features/watching.py",
    "tests/motionmatcher/features/test_watching.py",
    {
        "a watched module stays watched": ("                del module.forward\n", ""),
        "the outer watcher sees repeated passes": (
            "inner.forward if isinstance(inner, _WatchedForward) else inner",
            "inner",
        ),
        "what was there is lost": ("if found[name] is not None:", "if False:"),
        "masks are lost": (
            "key, attn_mask))",
            "key, None))",
        ),
        "another scale is not seen": (
            "query * (scale * query.shape[-1] ** 0.5)",
            "query",
        ),
        "other attention passes unseen": ("if len(seen) != 1:", "if len(seen) > 1:"),
    },
)

WAN_NAMES = mutants(
    "motionmatcher/bases/wan.py",
    "tests/motionmatcher/bases/test_lora_names.py",
    {
        "diffusers' files have no prefix": ('lora_prefix = "transformer"', 'lora_prefix = ""'),
        "self-attention is cross-attention": (
            '"attn1.to_q": "self_attn.q"',
            '"attn1.to_q": "cross_attn.k"',
        ),
        "the feed-forward layers are swapped": (
            '"ffn.net.0.proj": "ffn.0"',
            '"ffn.net.0.proj": "ffn.1"',
        ),
    },
)

WAN = mutants(
    "motionmatcher/bases/wan.py",
    "tests/motionmatcher/bases/test_wan.py",
    {
        "half precision is computed under autocast": (
            "uses_autocast = False",
            "uses_autocast = True",
        ),
        "the pass goes on to the end": ("all_blocks[: last_block + 1]", "all_blocks"),
        "a read base stays cut": ("self.blocks = all_blocks\n", "pass\n"),
        "padding's columns are kept": (
            "key.shape[2] if num_own is None else num_own",
            "key.shape[2]",
        ),
        "cross maps are read of self-attention": (
            'f"blocks.{block}.attn2" for block in blocks',
            'f"blocks.{block}.attn1" for block in blocks',
        ),
    },
)

LORA_AT = mutants(
    "motionmatcher/bases/denoiser.py",
    "tests/motionmatcher/bases/test_wan.py",
    {
        "bf16 weights are merged": ("self.weight_dtype != torch.bfloat16", "True"),
        "dropout is live in sampling": ("self.train(False)\n            for layer", "for layer"),
        "a LoRA beside the weights is not scaled": ("name: scale * each", "name: each"),
    },
)

LORA_FILES = mutants(
    "motionmatcher/bases/lora.py",
    "tests/motionmatcher/bases/test_lora_names.py",
    {
        "any name is taken": ("if not name.startswith(prefix):", "if False:"),
        "ComfyUI's file has diffusers' names": (
            "renamed = to_comfyui(tensors, denoiser.comfyui_modules)",
            "renamed = named",
        ),
    },
)

TRANSFORMER_BASES: list[Mutant] = [
    *FLOW_SCHEDULE,
    *FLOW_STEPS,
    *FLOW_INVERSION,
    *FLOW_SOLVERS,
    *ATTENTION_MAPS,
    *WATCHING,
    *WAN_NAMES,
    *WAN,
    *LORA_AT,
    *LORA_FILES,
]
