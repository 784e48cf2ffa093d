"""Mutants of attention maps, LoRA and the switching between student and frozen base."""

from mutation.mutant import Mutant, mutants

ATTENTION = mutants(
    "motionmatcher/features/recording.py",
    "tests/motionmatcher/features/test_recording.py",
    {
        "the largest head instead of their mean": ('q k", "mean"', 'q k", "max"'),
        "heads and batch are mixed up": ('"(n heads) q k ->', '"(heads n) q k ->'),
        "queries and keys are swapped": ("-> n q k", "-> n k q"),
        "the recording processor stays": ("module.processor = found[name]", "pass"),
        "a repeated pass records into the same maps": (
            "        return AttentionRecorder(self.module_names)",
            "        return self",
        ),
        "maps are detached": (
            '            probabilities, "(n heads)',
            '            probabilities.detach(), "(n heads)',
        ),
        "keys are of the pixels, not of the text": (
            "attn.head_to_batch_dim(attn.to_k(context))",
            "attn.head_to_batch_dim(attn.to_k(hidden_states))",
        ),
        "values are the keys": ("attn.to_v(context)", "attn.to_k(context)"),
    },
) + mutants(
    "motionmatcher/features/dual_attention.py",
    "tests/motionmatcher/features/test_dual_attention.py",
    {
        "dual numbers meet fused attention": (
            "return _attention.get()(*args",
            "return F.scaled_dot_product_attention(*args",
        ),
        "only the first rows attend": (
            "query.split(size, dim=-2), masks",
            "[query.split(size, dim=-2)[0]] * -(-num_queries // size), masks",
        ),
        "values do not move": ("return with_values + gradient", "return gradient"),
        "probabilities do not move": ("with_values + gradient[", "with_values + 0 * gradient["),
        "a query's move is not its key's": (
            "torch.cat([of_query, query]",
            "torch.cat([query, of_query]",
        ),
        "keys do not move": ("torch.cat([key, of_key]", "torch.cat([key, torch.zeros_like(key)]"),
        "the wide head sets the scale": (
            "wide, keys, values, mask, scale=ctx.scale",
            "wide, keys, values, mask",
        ),
        "the tangent has no mask": ("of_value, mask, scale", "of_value, None, scale"),
        "full precision is fused": (
            "({torch.bfloat16}, {torch.float16})",
            "({torch.bfloat16}, {torch.float32})",
        ),
    },
)

EXTRACTOR = mutants(
    "motionmatcher/features/extractor.py",
    [
        "tests/motionmatcher/features/test_extractor.py",
        "tests/motionmatcher/objectives/test_registry.py",
    ],
    {
        "the change is that of a step of unit size": (
            "[size * tangent.to(latents.dtype)",
            "[tangent.to(latents.dtype)",
        ),
        "the dual step is not of unit size": ("step.detach() / size", "step.detach()"),
        "the gradient is that of unit size": ("return size * gradient", "return gradient"),
        "the gradient is taken at another point": (
            "point = ctx.latents.clone()",
            "point = torch.zeros_like(ctx.latents)",
        ),
        "a zero step is divided by": (
            "return size.clamp(min=torch.finfo(size.dtype).tiny)",
            "return size",
        ),
    },
)

READ_MAPS = mutants(
    "motionmatcher/bases/denoiser.py",
    [
        "tests/motionmatcher/features/test_extractor.py",
        "tests/motionmatcher/objectives/test_registry.py",
    ],
    {
        "the adapter is left on while features are read": (
            "lora=False, recorder=recorder",
            "lora=True, recorder=recorder",
        ),
        "the encoder stops a block early": (
            "text_states.to(dtype), layers.last_block",
            "text_states.to(dtype), layers.last_block - 1",
        ),
    },
)

UNET = [
    *mutants(
        "motionmatcher/bases/denoiser.py",
        [
            "tests/motionmatcher/bases/test_denoiser.py::test_the_base_s_own_dropout_is_never_live",
            "tests/motionmatcher/bases/test_denoiser.py::test_train_wakes_the_lora_s_dropout_alone",
        ],
        {
            "training wakes the base's dropout": ("super().train(False)", "super().train(mode)"),
            "the LoRA's dropout never wakes": (
                "layer.lora_dropout.train(mode)",
                "layer.lora_dropout.train(False)",
            ),
        },
    ),
    *mutants(
        "motionmatcher/bases/denoiser.py",
        [
            "tests/motionmatcher/bases/test_denoiser.py::test_what_a_block_changed_comes_back",
            "tests/motionmatcher/bases/test_denoiser.py::test_with_the_lora_off_it_is_the_plain_unet",
            "tests/motionmatcher/bases/test_denoiser.py::test_adapters_that_someone_disabled_stay_so",
            "tests/motionmatcher/bases/test_denoiser.py::test_an_adapter_that_comes_later_is_found",
        ],
        {
            "layers found before an adapter came stay": ("self._found_lora = {}", "pass"),
            "the adapter stays off after the base's pass": (
                "_switch(switched, not mode.lora)",
                "pass",
            ),
            "the adapter is left on in the base's pass": (
                "_switch(switched, mode.lora)",
                "pass",
            ),
            "adapters that someone disabled are enabled": (
                "if layer.disable_adapters == mode.lora",
                "if True",
            ),
            "the mode stays after its block": ("self._mode = found_mode", "pass"),
            "merged weights stay": ("weight.data = original", "pass"),
        },
    ),
    *mutants(
        "motionmatcher/bases/denoiser.py",
        [
            "tests/motionmatcher/bases/test_denoiser.py::test_lora_scale_by_hand",
            "tests/motionmatcher/bases/test_denoiser.py::test_merged_is_unmerged_within_rounding",
        ],
        {
            "merging ignores its scale": ("share = scale * layer", "share = layer"),
            "a merged LoRA counts twice": (
                "with self.in_mode(PassMode(lora=False)):\n                yield",
                "with self.in_mode(PassMode(lora=True)):\n                yield",
            ),
        },
    ),
    *mutants(
        "motionmatcher/bases/denoiser.py",
        [
            "tests/motionmatcher/bases/test_denoiser.py::test_what_is_computed_again_for_the_base_has_the_lora_off",
            "tests/motionmatcher/bases/test_denoiser.py::test_checkpointing_really_computes_again",
            "tests/motionmatcher/bases/test_denoiser.py::test_full_precision_holds_in_what_is_computed_again",
        ],
        {
            "a recomputation takes the mode of backward": (
                "repetition = self._entered(repeated, within=module)",
                "repetition = nullcontext()",
            ),
            "a recomputation records again": (
                "recorder=mode.recorder and mode.recorder.blank()",
                "recorder=mode.recorder",
            ),
            "a recomputation is not at full precision": (
                "repeated = replace(mode, recorder",
                "repeated = replace(mode, full_precision=False, recorder",
            ),
            "nothing is computed again": ('if self._recomputed != "none":', "if False:"),
        },
    ),
    *mutants(
        "motionmatcher/bases/video_unet.py",
        [
            "tests/motionmatcher/bases/test_unet3d.py::test_the_encoder_pass_gives_the_maps_of_the_whole_pass",
            "tests/motionmatcher/bases/test_unet3d.py::test_no_block_after_the_last_one_runs",
        ],
        {
            "frames and videos of the time embedding are mixed up": (
                '"b d -> (b f) d"',
                '"b d -> (f b) d"',
            ),
            "frames and videos of the prompt are mixed up": (
                '"b t d -> (b f) t d"',
                '"b t d -> (f b) t d"',
            ),
            "the encoder runs its last downsampler": (
                "if index < last_block:",
                "if index <= last_block:",
            ),
            "the encoder stops a block early": (
                "self.down_blocks[: last_block + 1]",
                "self.down_blocks[: max(last_block, 1)]",
            ),
        },
    ),
    *mutants(
        "motionmatcher/bases/full_precision.py",
        [
            "tests/motionmatcher/bases/test_denoiser.py::test_full_precision_upcasts_half_precision_weights",
        ],
        {
            "bfloat16 is not upcast": ("(torch.float16, torch.bfloat16)", "(torch.float16,)"),
            "norms are not upcast": ("F.group_norm, F.layer_norm, ", ""),
        },
    ),
]

LORA_TARGETS = mutants(
    "motionmatcher/bases/video_unet.py",
    "tests/motionmatcher/bases/test_lora.py",
    {
        "spatial cross-attention gets an adapter": (
            'Transformer2DModel, nn.Linear, {"attn1", "ff"}',
            'Transformer2DModel, nn.Linear, {"attn1", "attn2", "ff"}',
        ),
        "the second temporal attention gets none": (
            '{"attn1", "attn2", "ff"}',
            '{"attn1", "ff"}',
        ),
    },
)

LORA = mutants(
    "motionmatcher/bases/lora.py",
    "tests/motionmatcher/bases/test_lora.py",
    {
        "the LoRA counts twice": ("lora_alpha=rank", "lora_alpha=2 * rank"),
        "the base is trained too": (
            "denoiser.requires_grad_(False)",
            "denoiser.requires_grad_(True)",
        ),
        "A is the same for all seeds": ('stream_seed(seed, "lora")', 'stream_seed(0, "lora")'),
        "A is drawn from the global stream": (
            "with torch.random.fork_rng(devices=[]):",
            "if True:",
        ),
        "adapters of a half-precision base are in half precision": (
            "weight.data.float() if weight.dtype.itemsize < 4 else weight.data",
            "weight.data",
        ),
        "what is loaded does not reach the denoiser": (
            '    set_peft_model_state_dict(denoiser, tensors, adapter_name="default")\n',
            "",
        ),
        "dropout is left out": ("lora_dropout=dropout,", "lora_dropout=0.0,"),
    },
    survives={"the base is trained too": "peft itself freezes the base when it adds adapters"},
)

PUBLISHED_LORA = mutants(
    "motionmatcher/bases/lora.py",
    [
        "tests/motionmatcher/bases/test_lora.py::test_a_published_list_is_read_in_order",
        "tests/motionmatcher/bases/test_lora.py::test_the_published_file_of_the_most_steps_is_read",
    ],
    {
        "A and B of the published format are swapped": (
            "weights[::2], weights[1::2]",
            "weights[1::2], weights[::2]",
        ),
        "the published file of the fewest steps": (
            "published[max(published)]",
            "published[min(published)]",
        ),
    },
)

ADAPTER_AT_REST = mutants(
    "motionmatcher/bases/lora.py",
    "tests/motionmatcher/bases/test_denoiser.py::test_a_fresh_lora_takes_the_unet_s_mode",
    {
        "a new adapter wakes in a denoiser at rest": (
            "denoiser.train(denoiser.training)",
            "denoiser.train()",
        ),
    },
)

LORA_LINEAR = mutants(
    "motionmatcher/bases/lora_linear.py",
    "tests/motionmatcher/bases/test_lora_linear.py",
    {
        "what dropout keeps is not scaled up": ("scale = scaling / share", "scale = scaling"),
        "the LoRA is not scaled": ("scale = scaling / share", "scale = 1 / share"),
        "an adapter switched off is left on": (
            "if layer.merged or layer.disable_adapters or not is_plain:",
            "if layer.merged or not is_plain:",
        ),
        "a merged adapter counts twice": (
            "if layer.merged or layer.disable_adapters or not is_plain:",
            "if layer.disable_adapters or not is_plain:",
        ),
        "dropout acts at rest too": (
            "isinstance(dropout, nn.Dropout) and dropout.training",
            "isinstance(dropout, nn.Dropout)",
        ),
        "the input's gradient is not dropped": (
            "x_gradient.addcmul_(share, mask.view(share.shape).to(dtype))",
            "x_gradient += share",
        ),
        "A's gradient is of the whole input": (
            "(inner.T @ _dropped(x, mask, dtype))",
            "(inner.T @ _dropped(x, None, dtype))",
        ),
        "gradients are not scaled": (
            "inner = ctx.scale * (outer @ up.to(dtype))",
            "inner = outer @ up.to(dtype)",
        ),
        "the input's gradient leaves the LoRA out": ("x_gradient += share", "pass"),
        "the mask drops what it should keep": ("(bits < round", "(bits >= round"),
        "four elements share one draw": (
            "bits = words.view(torch.int16)[: like.numel()]",
            "bits = words.view(torch.int16)[::4].repeat_interleave(4)[: like.numel()]",
        ),
        "peft's own forward stays after the block": ('vars(layer)["forward"] = forward', "pass"),
    },
)

NETWORK: list[Mutant] = [
    *ATTENTION,
    *EXTRACTOR,
    *READ_MAPS,
    *UNET,
    *LORA_TARGETS,
    *LORA,
    *PUBLISHED_LORA,
    *ADAPTER_AT_REST,
    *LORA_LINEAR,
]
