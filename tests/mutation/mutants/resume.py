"""Mutants of training, its checkpoints and resuming."""

from mutation.mutant import Mutant, mutants

TRAINING = [
    *mutants(
        "motionmatcher/training/loop.py",
        [
            "tests/motionmatcher/training/test_loop.py::test_accumulated_gradient_is_the_mean",
        ],
        {
            "accumulated gradients are summed": (
                "loss.total / settings.gradient_accumulation_steps",
                "loss.total",
            ),
            "accumulation draws one batch again and again": (
                "place = (step, micro_step, accelerator.process_index)",
                "place = (step, 0, accelerator.process_index)",
            ),
            "Adam's averages are exchanged": (
                "betas=(settings.adam_beta1, settings.adam_beta2)",
                "betas=(settings.adam_beta2, settings.adam_beta1)",
            ),
            "the last step is not saved": (
                "last = stop > 0 or done == settings.max_train_steps",
                "last = stop > 0",
            ),
        },
    ),
    *mutants(
        "motionmatcher/training/loop.py",
        [
            "tests/motionmatcher/training/test_loop.py::test_the_learning_rate_goes_on_where_it_was",
            "tests/motionmatcher/training/test_loop.py::test_dropout_has_a_seed_of_its_own_in_each_pass",
        ],
        {
            "a resumed learning rate begins anew": ("last_epoch=first_step - 1", "last_epoch=-1"),
            "a resumed learning rate is one step ahead": (
                "last_epoch=first_step - 1",
                "last_epoch=first_step",
            ),
            "the learning rate does not warm up": (
                "num_warmup_steps=settings.lr_warmup_steps",
                "num_warmup_steps=0",
            ),
            "all passes share their dropout": (
                'stream_seed(settings.seed, "dropout", *place)',
                'stream_seed(settings.seed, "dropout")',
            ),
            "dropout shares the noise's seed": (
                'stream_seed(settings.seed, "dropout", *place)',
                'stream_seed(settings.seed, "noise", *place)',
            ),
        },
    ),
    *mutants(
        "motionmatcher/training/loop.py",
        "tests/motionmatcher/training/test_loop.py::test_resume_equals_an_unbroken_run",
        {
            "dropout draws on from whatever was drawn before": (
                'torch.manual_seed(stream_seed(settings.seed, "dropout", *place))',
                "pass",
            ),
            "gradients of earlier steps stay": ("optimizer.zero_grad(set_to_none=True)", "pass"),
            "a resumed run makes its last step again": (
                "first_step = progress.step",
                "first_step = max(progress.step - 1, 0)",
            ),
            "a resumed run leaves a step out": (
                "first_step = progress.step",
                "first_step = progress.step and progress.step + 1",
            ),
        },
    ),
    *mutants(
        "motionmatcher/training/loop.py",
        "tests/motionmatcher/training/test_loop.py::test_two_processes",
        {
            "processes draw the same": (
                "place = (step, micro_step, accelerator.process_index)",
                "place = (step, micro_step, 0)",
            ),
            "processes do not share their gradients": (
                "if accelerator.num_processes == 1:",
                "if accelerator.num_processes >= 1:",
            ),
        },
    ),
    *mutants(
        "motionmatcher/training/loop.py",
        [
            "tests/motionmatcher/training/test_loop.py::test_what_is_not_finite_stops_the_run",
            "tests/motionmatcher/training/test_loop.py::test_weights_that_are_not_finite_are_not_saved",
        ],
        {
            "a gradient that is no number is stepped with": (
                "if not math.isfinite(gradient_norm):",
                "if math.isinf(gradient_norm):",
            ),
            "a loss that is no number goes on": (
                "if not math.isfinite(total):",
                "if math.isinf(total):",
            ),
            "weights that are no numbers are saved": (
                "for name, weight in parameters.items() if not is_finite(weight)]",
                "for name, weight in parameters.items() if weight is None]",
            ),
        },
    ),
]

CHECKPOINTS = mutants(
    "motionmatcher/training/checkpoints.py",
    "tests/motionmatcher/training/test_checkpoints.py",
    {
        "the second moments are not kept": (
            "            if isinstance(value, Tensor):\n                tensors[",
            '            if name != "exp_avg_sq" and isinstance(value, Tensor):\n                tensors[',
        ),
        "all parameters get the first one's moments": (
            "parameter = parameters[index]",
            "parameter = parameters[0]",
        ),
        "fp16's loss scale begins anew": ("scaler.load_state_dict(scaler_state)", "pass"),
        "moments of another step are taken": ('if found["step"] != num_updates:', "if False:"),
        "moments of another shape are taken": (
            'require_sound(f"{place}.{name}", value, wanted.shape)',
            'require_sound(f"{place}.{name}", value, value.shape)',
        ),
        "negative means of squares are taken": (
            'if "exp_avg_sq" in found and found["exp_avg_sq"].min() < 0:',
            "if False:",
        ),
        "a checkpoint of another step is taken": (
            'if file.parent.name != f"checkpoint-{step}":',
            "if False:",
        ),
        "looking at an update keeps it": ("parameter.data.copy_(value)", "pass"),
        "skipped updates are forgotten": (
            '"skipped_updates": skipped_updates,',
            '"skipped_updates": 0,',
        ),
    },
)

RUNS = mutants(
    "motionmatcher/runs/run_folder.py",
    "tests/motionmatcher/runs/test_run_folder.py",
    {
        "checkpoints are sorted by their letters": (
            "return sorted(int(match[1]) for match in matches if match)",
            "return [int(n) for n in sorted(match[1] for match in matches if match)]",
        ),
        "the first checkpoint is the last": (
            "return self.checkpoint_folder(steps[-1])",
            "return self.checkpoint_folder(steps[0])",
        ),
        "the newest checkpoints are dropped": (
            "for step in others[: max(len(others) - (keep - 1), 0) if keep else 0]:",
            "for step in others[::-1][: max(len(others) - (keep - 1), 0) if keep else 0]:",
        ),
        "one checkpoint too many is kept": (
            "max(len(others) - (keep - 1), 0) if keep else 0",
            "max(len(others) - keep, 0) if keep else 0",
        ),
        "the checkpoint just saved may be dropped": (
            "if step != saved_step]",
            "]",
        ),
        "latest is the first run": ("run = with_checkpoints[-1]", "run = with_checkpoints[0]"),
        "the checkpoint resumed is set aside too": ("if other > step]", "if other >= step]"),
        "previews of the old branch stay": (
            "if match and int(match[1]) > step:",
            "if match and int(match[1]) > step + 1000:",
        ),
        "the settings of the old branch stay": (
            "        write_settings(self.config_file, settings)\n        return aside.folder",
            "        return aside.folder",
        ),
    },
)

RESUMING = [
    *mutants(
        "motionmatcher/training/resuming.py",
        "tests/motionmatcher/training/test_resuming.py",
        {
            "another seed goes on": ('    "seed",\n', ""),
            "another prompt goes on": ('    "train_data.single_video_prompt",\n', ""),
            "fewer steps than made go on": (
                "if step > settings.max_train_steps:",
                "if step > settings.max_train_steps + 1000:",
            ),
            "a finished run says nothing": (
                "if step == settings.max_train_steps:",
                "if step == settings.max_train_steps + 1:",
            ),
        },
    ),
    *mutants(
        "motionmatcher/training/assembly.py",
        [
            "tests/motionmatcher/training/test_loop.py::test_an_earlier_checkpoint_starts_a_branch",
            "tests/motionmatcher/training/test_loop.py::test_resume_equals_an_unbroken_run",
        ],
        {
            "the curves of the old branch stay": (
                '{"tensorboard": {"purge_step": progress.step + 1}}',
                "{}",
            ),
            "the curves lose the last step that counts": (
                '"purge_step": progress.step + 1',
                '"purge_step": progress.step',
            ),
            "a resumed run begins with a new LoRA": (
                'found = load_lora(base.denoiser, checkpoint / "lora")',
                'found, _ = read_lora(checkpoint / "lora", base.denoiser)',
            ),
            "a resumed run begins with new moments": (
                "progress = load_training_state(checkpoint, optimizer.optimizer, accelerator.scaler)",
                "progress = Progress(step)",
            ),
        },
    ),
]

UNET_SETTINGS = mutants(
    "motionmatcher/training/assembly.py",
    "tests/motionmatcher/training/test_loop.py::test_the_unet_computes_as_the_settings_say",
    {
        "full gradient checkpointing has no effect": (
            '    if settings.gradient_checkpointing != "none":',
            '    if settings.gradient_checkpointing == "selective":',
        ),
        "selective gradient checkpointing has no effect": (
            '    if settings.gradient_checkpointing != "none":',
            '    if settings.gradient_checkpointing == "full":',
        ),
        "compile has no effect": ("    if settings.compile:", "    if False:"),
    },
)

GRADIENT_WATCH = mutants(
    "motionmatcher/training/gradient_watch.py",
    "tests/motionmatcher/training/test_gradient_watch.py",
    {
        "a module counts by its last gradient": (
            "size.maximum(self._largest.get(adapter, size))",
            "size",
        ),
        "the first step decides": ("if self._seen == self.steps else []", "if self._seen else []"),
        "a faint gradient is one below epsilon": ("SMALL_RATIO = 10.0", "SMALL_RATIO = 1.0"),
    },
)

RESUME: list[Mutant] = [*TRAINING, *CHECKPOINTS, *RUNS, *RESUMING, *UNET_SETTINGS, *GRADIENT_WATCH]
