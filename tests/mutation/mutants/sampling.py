"""Mutants of noise schedules, sampling and random streams."""

from mutation.mutant import Mutant, mutants

SCHEDULES = mutants(
    "motionmatcher/diffusion/schedules.py",
    "tests/motionmatcher/diffusion/test_schedules.py",
    {
        "noising without roots": (
            "return alpha.sqrt(), (1 - alpha).sqrt()",
            "return alpha, 1 - alpha",
        ),
        "signal and noise are swapped": (
            "return signal_scale * latents + noise_scale * noise",
            "return noise_scale * latents + signal_scale * noise",
        ),
        "the velocity's sign": (
            "return signal_scale * noise - noise_scale * latents",
            "return noise_scale * latents - signal_scale * noise",
        ),
        "every base predicts the noise": (
            '    if schedule.prediction_type == "epsilon":\n        return noise',
            "    if True:\n        return noise",
        ),
        "timestep 0 counts as clean": ("steps >= 0", "steps > 0"),
        "the final alpha is the first one": (
            "float(scheduler.final_alpha_cumprod)",
            "float(scheduler.alphas_cumprod[0])",
        ),
        "a value a frame, not a video": (
            "found.reshape(-1, *[1] * (like.ndim - 1))",
            "found.reshape(1, 1, -1, *[1] * (like.ndim - 3))",
        ),
        "the step keeps the noise's old scale": (
            "+ next_noise_scale * noise",
            "+ noise_scale * noise",
        ),
        "clean latents of a velocity have the wrong sign": (
            "clean = signal_scale * sample - noise_scale * prediction",
            "clean = signal_scale * sample + noise_scale * prediction",
        ),
        "noise of a velocity has the wrong scales": (
            "signal_scale * prediction + noise_scale * sample",
            "noise_scale * prediction + signal_scale * sample",
        ),
        "a prediction's scale has the wrong sign": (
            "signal_scale * next_noise_scale - next_signal_scale * noise_scale",
            "next_signal_scale * noise_scale - signal_scale * next_noise_scale",
        ),
        "a noise prediction's scale is a velocity's": (
            'by_velocity if schedule.prediction_type != "epsilon" else by_velocity / signal_scale',
            "by_velocity",
        ),
        "steps are one timestep too long": (
            "self.num_train_timesteps // num_steps",
            "self.num_train_timesteps // num_steps + 1",
        ),
        "a rescaled schedule leaves the last timestep out": (
            '"timestep_spacing": "trailing"',
            '"timestep_spacing": "leading"',
        ),
        "the schedule is never rescaled": ("(changes if rescale else {})", "{}"),
    },
)

INVERSION = mutants(
    "motionmatcher/diffusion/inversion.py",
    "tests/motionmatcher/diffusion/test_inversion.py",
    {
        "inversion walks from noise to clean": ("list(reversed(steps))", "list(steps)"),
        "inversion asks the model at the lower timestep": (
            "predictor(found, timestep)",
            "predictor(found, lower_timestep)",
        ),
        "inversion steps down": (
            "prediction, lower_timestep, timestep, schedule",
            "prediction, timestep, lower_timestep, schedule",
        ),
        "the noise prior without its root": (
            "noise_prior**0.5 * inverted",
            "noise_prior * inverted",
        ),
        "fresh noise without its root": ("(1 - noise_prior) ** 0.5", "(1 - noise_prior)"),
        "the noise prior is the share of fresh noise": (
            "noise_prior**0.5 * inverted.to(fresh) + (1 - noise_prior) ** 0.5 * fresh",
            "(1 - noise_prior) ** 0.5 * inverted.to(fresh) + noise_prior**0.5 * fresh",
        ),
    },
)

SOLVERS = mutants(
    "motionmatcher/diffusion/solvers.py",
    [
        "tests/motionmatcher/diffusion/test_solvers.py",
        "tests/motionmatcher/diffusion/test_schedules.py",
    ],
    {
        "DDIM goes one timestep at a time": ("self.later[timestep]", "timestep - 1"),
        "UniPC is DPM-Solver++": (
            '"unipc": UniPCMultistepScheduler',
            '"unipc": DPMSolverMultistepScheduler',
        ),
        "the model is asked one step late": (
            "predictor(latents, timestep), timestep)",
            "predictor(latents, max(timestep - 20, 0)), timestep)",
        ),
    },
)

SAMPLING = mutants(
    "motionmatcher/diffusion/sampling.py",
    "tests/motionmatcher/diffusion/test_sampling.py",
    {
        "the LoRA is off at min_timestep itself": (
            "timestep >= lowest_with_lora",
            "timestep > lowest_with_lora",
        ),
        "the LoRA is on at low noise instead": (
            "timestep >= lowest_with_lora",
            "timestep < lowest_with_lora",
        ),
        "the adapter is left on below min_timestep": (
            "    with base.denoiser.in_mode(PassMode(lora=False)):\n        latents = solve(",
            "    with base.denoiser.in_mode(PassMode(lora=True)):\n        latents = solve(",
        ),
        "the adapter is left on in inversion": (
            "    with base.denoiser.in_mode(PassMode(lora=False)):\n        noise = invert_ddim",
            "    with base.denoiser.in_mode(PassMode(lora=True)):\n        noise = invert_ddim",
        ),
        "lora_scale has no effect": ("lora_at(settings.lora_scale)", "lora_at()"),
        "guidance leads to the negative prompt": (
            "[negative_states.expand_as(text_states), text_states]",
            "[text_states, negative_states.expand_as(text_states)]",
        ),
        "guidance starts from the prompt": (
            "return unconditional + guidance_scale",
            "return conditional + guidance_scale",
        ),
        "no guidance is the empty prompt": (
            "return base.denoiser.predict(latents, timestep, text_states)",
            "return base.denoiser.predict(latents, timestep, negative_states)",
        ),
        "videos share the first one's seed": (
            "video_noise(seeds, shape)",
            "video_noise([seeds[0]] * len(seeds), shape)",
        ),
        "the noise prior is left out": (
            "if settings.noise_prior > 0:",
            "if settings.noise_prior > 1:",
        ),
        "height and width are swapped": (
            "settings.num_frames, settings.width, settings.height",
            "settings.num_frames, settings.height, settings.width",
        ),
    },
)

RANDOM_STREAMS = mutants(
    "motionmatcher/random_streams.py",
    "tests/motionmatcher/test_random_streams.py",
    {
        "all seeds share their streams": ("[str(seed), stream,", "[stream,"),
        "all uses share one stream": ("[str(seed), stream,", "[str(seed),"),
        "all places share one stream": ("stream, *map(str, place)]", "stream]"),
        "places run into each other": ('":".join', '"".join'),
        "videos share the first one's seed": (
            "manual_seed(seed)) for",
            "manual_seed(seeds[0])) for",
        ),
        "start noise is drawn from the global stream": (
            "torch.randn(*shape, generator=torch.Generator().manual_seed(seed))",
            "torch.randn(*shape, generator=torch.manual_seed(seed))",
        ),
    },
)

SAMPLED: list[Mutant] = [*SCHEDULES, *INVERSION, *SOLVERS, *SAMPLING, *RANDOM_STREAMS]
