"""Mutants of training on several clips: what a step draws, whose noise is mixed in, what is refused."""

from mutation.mutant import mutants

_TRAINING = "tests/motionmatcher/training/test_several_clips.py"

SEVERAL_CLIPS = (
    mutants(
        "motionmatcher/clips/clip_choice.py",
        "tests/motionmatcher/clips/test_clip_choice.py",
        {
            "always the first": ("stream_seed(seed, stream, *place) % count", "0"),
            "the place does not count": ("stream_seed(seed, stream, *place)", "stream_seed(seed, stream)"),
            "an index goes before a name": ("if text in names:", "if text in names[2:]:"),
        },
    )
    + mutants(
        "motionmatcher/config/train_data.py",
        "tests/motionmatcher/config/test_train_data.py",
        {
            "the shared time stays": ("(_BY_TIME if by_index else {})", "{}"),
            "the shared index stays": ("(_BY_INDEX if by_time else {})", "{}"),
        },
    )
    + mutants(
        "motionmatcher/config/loading.py",
        "tests/motionmatcher/config/test_train_data.py",
        {
            "both at once": (
                "if data.clips and (data.single_video_path or data.single_video_prompt):",
                "if False:",
            ),
        },
    )
    + mutants(
        "motionmatcher/training/loop.py",
        _TRAINING,
        {
            "the stream of the noise": (
                'settings.seed, "clip", *place',
                'settings.seed, "noise", *place',
            ),
            "the prompt of the first clip": ("text_states[row]", "text_states[:1]"),
            "the batch does not know its clip": ("replace(drawn, clip=clip)", "drawn"),
        },
    )
    + mutants(
        "motionmatcher/generation/generate.py",
        _TRAINING,
        {
            "the first video's clip for all": (
                "noise[[_noise_clip(request, job) for job in batch]]",
                "noise[[_noise_clip(request, batch[0]) for job in batch]]",
            ),
            "another clip than the named": (
                "self.references[only : only + 1]",
                "self.references[:1]",
            ),
        },
    )
    + mutants(
        "motionmatcher/clips/reference.py",
        _TRAINING,
        {"a published cache for every clip": ("if not self.is_only:", "if False:")},
    )
)  # fmt: skip
