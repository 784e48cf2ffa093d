"""Mutants of losses, objectives and features."""

from mutation.mutant import Mutant, mutants

LOSSES = [
    *mutants(
        "motionmatcher/objectives/feature_matching.py",
        "tests/motionmatcher/objectives/test_feature_matching.py",
        {
            "squared: sums, not means": ("kind.square().mean()", "kind.square().sum()"),
            "squared: absolute": ("kind.square().mean()", "kind.abs().mean()"),
            "log: of the batch's mean": (
                "mean_squares(kind).log().mean()",
                "mean_squares(kind).mean().log()",
            ),
            "relative: to the batch's mean": (
                "mean_squares(base_kind)).mean()",
                "mean_squares(base_kind).mean()).mean()",
            ),
            "relative: to the student with its LoRA": (
                "base.denoiser.lora_at(0)",
                "base.denoiser.lora_at(1)",
            ),
            "temporal part has the spatial weight": (
                '"temporal": temporal_weight',
                '"temporal": spatial_weight',
            ),
        },
    ),
    *mutants(
        "motionmatcher/features/maps.py",
        "tests/motionmatcher/objectives/test_feature_matching.py",
        {
            "cross-attention of the target is added": (
                "self.cross_attention - other.cross_attention",
                "self.cross_attention + other.cross_attention",
            ),
        },
    ),
    *mutants(
        "motionmatcher/objectives/objective.py",
        "tests/motionmatcher/objectives/test_feature_matching.py",
        {"total leaves the first part out": ("start=first)", "start=0 * first)")},
    ),
    *mutants(
        "motionmatcher/objectives/pixel.py",
        "tests/motionmatcher/objectives/test_pixel.py",
        {
            "frame differences along height": (
                "video[:, :, 1:] - video[:, :, :-1]",
                "video[:, :, :, 1:] - video[:, :, :, :-1]",
            ),
            "frame differences over two frames": (
                "video[:, :, 1:] - video[:, :, :-1]",
                "video[:, :, 2:] - video[:, :, :-2]",
            ),
            "VMC's cosine along channels": ("dim=2", "dim=1"),
            "VMC's differences are signed": (
                "frame_differences(prediction).abs(), frame_differences(truth).abs()",
                "frame_differences(prediction), frame_differences(truth)",
            ),
            "VMC leads away from the truth": ("1 - similarity.mean()", "1 + similarity.mean()"),
            "debiasing by 2, not its root": ("2**0.5 * video", "2 * video"),
            "the anchor is always the first frame": (
                "video[:, :, anchor_frame : anchor_frame + 1]",
                "video[:, :, :1]",
            ),
            "the truth is not debiased": ("debias(truth, anchor_frame))", "truth)"),
            "another anchor frame than the one drawn": (
                'batch.extra["anchor_frame"]',
                '0 * batch.extra["anchor_frame"]',
            ),
            "the last frame is never the anchor": (
                "latents.shape[2], ()",
                "latents.shape[2] - 1, ()",
            ),
            "all steps draw the same anchor": ('"anchor frame", *place)', '"anchor frame")'),
            "pixel objectives compare with the noise of any base": (
                "        truth = true_prediction(batch.latents, batch.noise, batch.timesteps, "
                "self.base.schedule)\n",
                "        truth = batch.noise\n",
            ),
            "one frame is taken for enough": (
                "n_sample_frames < self.",
                "n_sample_frames < 0 * self.",
            ),
        },
    ),
]

OBJECTIVES = mutants(
    "motionmatcher/objectives/feature_matching.py",
    "tests/motionmatcher/objectives/test_feature_matching.py::test_tangent_mode_weighs_the_change_along_the_same_step",
    {
        "the step leads to a later timestep": (
            "earlier = timesteps - settings",
            "earlier = timesteps + settings",
        ),
        "the step is one too short": (
            "settings.motion_extractor.num_denoise_steps\n",
            "settings.motion_extractor.num_denoise_steps + 1\n",
        ),
        "the student sees clean latents": (
            "prediction = base.denoiser.predict(noisy,",
            "prediction = base.denoiser.predict(latents,",
        ),
        "the student sees the earlier timestep": (
            "prediction = base.denoiser.predict(noisy, timesteps,",
            "prediction = base.denoiser.predict(noisy, earlier,",
        ),
        "the student's error is not scaled to the step": ("scale * error", "error"),
        "the features' Jacobian is taken before the step": (
            "extractor.change(true_latents,",
            "extractor.change(noisy,",
        ),
        "the features are read at the timestep before the step": (
            "scale * error, earlier, text_states",
            "scale * error, timesteps, text_states",
        ),
        "the prediction is detached in tangent mode": (
            "error = prediction - truth",
            "error = prediction.detach() - truth",
        ),
    },
)

DIFFERENCE = mutants(
    "motionmatcher/objectives/feature_matching.py",
    [
        "tests/motionmatcher/objectives/test_feature_matching.py::test_the_target_side_needs_no_gradient",
        "tests/motionmatcher/objectives/test_feature_matching.py::test_the_loss_of_a_batch_by_hand",
    ],
    {
        "the target has a gradient": ("with torch.no_grad():", "with torch.enable_grad():"),
        "the prediction is detached, not the target": (
            "extractor(predicted_latents,",
            "extractor(predicted_latents.detach(),",
        ),
        "the target's features are read before the step": (
            "target = extractor(true_latents,",
            "target = extractor(noisy,",
        ),
        "the student's features are read at the timestep before the step": (
            "extractor(predicted_latents, earlier,",
            "extractor(predicted_latents, timesteps,",
        ),
    },
)

DRAWS = mutants(
    "motionmatcher/objectives/objective.py",
    [
        "tests/motionmatcher/objectives/test_objective.py::test_each_kind_of_draw_has_a_stream_of_its_own",
        "tests/motionmatcher/objectives/test_objective.py::test_draws_cover_their_range_and_differ_among_steps",
    ],
    {
        "all steps draw the same noise": ('"noise", *place)', '"noise")'),
        "all steps draw the same timesteps": ('"timesteps", *place)', '"timesteps")'),
        "timesteps share the noise's stream": ('"timesteps", *place)', '"noise", *place)'),
        "offset noise shares the noise's stream": ('"offset noise", *place', '"noise", *place'),
        "offset noise differs among rows": ("*shape[:3], 1, 1,", "*shape[:4], 1,"),
        "offset noise at full strength": ("settings.offset_noise_strength * offsets", "offsets"),
        "the lowest timestep is not kept": (
            "            settings.min_timestep,\n",
            "            0,\n",
        ),
        "the last timestep is never drawn": (
            "            schedule.num_train_timesteps,",
            "            schedule.num_train_timesteps - 1,",
        ),
        "videos of a batch share their timestep": (
            "            (batch_size,),\n"
            '            generator=generator(settings.seed, "timesteps", *place),\n        )',
            "            (1,),\n"
            '            generator=generator(settings.seed, "timesteps", *place),\n'
            "        ).expand(batch_size)",
        ),
    },
)

LAYERS = mutants(
    "motionmatcher/bases/video_unet.py",
    ["tests/motionmatcher/bases/test_unet3d.py", "tests/motionmatcher/bases/test_video_unet.py"],
    {
        "spatial self-attention for cross-attention": (
            ".attentions.{layer}.transformer_blocks.0.attn2",
            ".attentions.{layer}.transformer_blocks.0.attn1",
        ),
        "the second temporal attention is left out": ('in ("attn1", "attn2")', 'in ("attn1",)'),
        "the decoder's maps count": (
            'f"down_blocks.{temporal}.{cls.temporal_layers}',
            'f"up_blocks.{temporal}.{cls.temporal_layers}',
        ),
        "odd sizes are rounded down": (
            "-(-height // 2), -(-width // 2)",
            "height // 2, width // 2",
        ),
        "cross-attention of the temporal block": (
            'f"down_blocks.{spatial}.attentions',
            'f"down_blocks.{temporal}.attentions',
        ),
        "map size of the temporal block": (
            "cross_size=cross_sizes[spatial]",
            "cross_size=temporal_sizes[temporal]",
        ),
        "grid of the spatial block": (
            "temporal_size=temporal_sizes[temporal]",
            "temporal_size=cross_sizes[spatial]",
        ),
        "the encoder stops too early": ("max(spatial, temporal)", "min(spatial, temporal)"),
        "temporal maps take the spatial scale": (
            '(temporal_sizes, "temporal_scale_factor")',
            '(temporal_sizes, "spatial_scale_factor")',
        ),
    },
)

FEATURES = mutants(
    "motionmatcher/features/maps.py",
    "tests/motionmatcher/features/test_maps.py",
    {
        "cross-attention is summed over layers": (
            "for name in layers.cross_attention]).mean(0)",
            "for name in layers.cross_attention]).sum(0)",
        ),
        "only the first temporal layer counts": (
            "for name in layers.temporal_attention]).mean(0)",
            "for name in layers.temporal_attention])[0]",
        ),
        "frames and videos are mixed up": ('"(b f) (h w) t ->', '"(f b) (h w) t ->'),
        "rows and columns are mixed up": ('"(b f) (h w) t ->', '"(b f) (w h) t ->'),
        "places and videos are mixed up": ('"(b place) i j ->', '"(place b) i j ->'),
        "frames that look and frames looked at are swapped": (
            "-> b place i j",
            "-> b place j i",
        ),
    },
)

TRAINING_LOSS: list[Mutant] = [
    *LOSSES,
    *OBJECTIVES,
    *DIFFERENCE,
    *DRAWS,
    *LAYERS,
    *FEATURES,
]
