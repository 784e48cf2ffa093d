"""Mutants of the reader: which frames of a clip, in what order, which way up, how large."""

from mutation.mutant import Mutant, mutants

TIMES = mutants(
    "motionmatcher/clips/clip_times.py",
    "tests/motionmatcher/clips/test_clip_times.py",
    {
        "a rate may vary by ten percent": ("Fraction(1, 100)", "Fraction(1, 10)"),
        "a last frame that is held counts once": (
            "if steps_alike and hold < 1.5 * usual_step:",
            "if steps_alike:",
        ),
        "a late frame waits for the next point of the grid": (
            "due = [ceil((start - slack) * rate)",
            "due = [ceil(start * rate)",
        ),
        "frames come one point late": ('side="right") - 1', 'side="left") - 1'),
        "one frame too many at the end": (
            "(sum(steps, hold) - slack) * rate",
            "(sum(steps, hold) + slack) * rate",
        ),
        "pauses count to the usual step": (
            "near = [step for step in steps if abs(step - median) <= median / 2]",
            "near = list(steps)",
        ),
        "the header is believed against the times": (
            "if measured and abs(rate - measured)",
            "if False and abs(rate - measured)",
        ),
        "the grid asked for is not taken": (
            "rate = Fraction(grid_fps) if grid_fps is not None else 1 / usual_step",
            "rate = 1 / usual_step",
        ),
        "rounding to ticks is a variable rate": (
            "all(abs(drift) <= tick for drift in drifts)",
            "False",
        ),
        "frames missing at the end are not noticed": (
            "end + min(steps) / 2 < declared_end",
            "end + 2 * min(steps) < declared_end",
        ),
    },
)

FILES = [
    *mutants(
        "motionmatcher/clips/clip_file.py",
        "tests/motionmatcher/clips/test_clip_file.py::test_clips_are_turned_and_mirrored_as_players_do",
        {
            "a turned clip is not turned": ("pixels = pixels.swapaxes(0, 1)", "pass"),
            "a turned clip is turned the other way": (
                "True, y_to_x < 0, x_to_y < 0",
                "True, x_to_y < 0, y_to_x < 0",
            ),
            "left and right stay": ("pixels = pixels[:, ::-1]", "pass"),
            "top and bottom are left and right": (
                "False, x_to_x < 0, y_to_y < 0",
                "False, y_to_y < 0, x_to_x < 0",
            ),
            "red and blue are exchanged": (
                "cast(Frames, picture.to_ndarray())[..., ::-1]",
                "cast(Frames, picture.to_ndarray())",
            ),
        },
    ),
    *mutants(
        "motionmatcher/clips/clip_file.py",
        "tests/motionmatcher/clips/test_clip_file.py::test_a_disc_of_wide_pixels_stays_a_disc",
        {
            "pixels count as square": ("frame.width * pixel_aspect", "frame.width"),
            "wide pixels count as narrow": (
                "frame.width * pixel_aspect",
                "frame.width / pixel_aspect",
            ),
        },
    ),
    *mutants(
        "motionmatcher/clips/clip_file.py",
        [
            "tests/motionmatcher/clips/test_clip_file.py::test_gif_delays_count",
            "tests/motionmatcher/clips/test_clip_file.py::test_a_file_that_was_cut_off_is_refused",
        ],
        {
            "frames are taken by their place in the file, not by time": (
                "sources = [self.timeline.sources[index] for index in indices]",
                "sources = [min(i, max(self.timeline.sources)) for i in indices]",
            ),
            "a clip that breaks off is taken as far as it goes": (
                "if packet.is_corrupt:  # the file ends within it",
                "if False:",
            ),
            "a GIF that breaks off is taken as far as it goes": (
                'return not file.read().rstrip(b"\\0").endswith(b";")',
                "return False",
            ),
            "what a header declares is not compared": (
                "return declared_end is not None and times.end_before(declared_end)",
                "return False",
            ),
        },
    ),
]

VIDEO = [
    *mutants(
        "motionmatcher/clips/frame_choice.py",
        "tests/motionmatcher/clips/test_frame_choice.py",
        {
            "the frame before is taken, not the nearest": ("clip_fps + 0.5)", "clip_fps)"),
            "the seconds at the start are ignored": (
                "floor((start_s + i * step_s)",
                "floor((i * step_s)",
            ),
            "the last frame's own time does not count": (
                "start_s + count * step_s",
                "start_s + (count - 1) * step_s",
            ),
            "a frame beyond the end is asked for": (
                "[min(index, num_frames - 1) for index in nearest]",
                "list(nearest)",
            ),
        },
    ),
    *mutants(
        "motionmatcher/clips/frame_choice.py",
        [
            "tests/motionmatcher/clips/test_video.py::test_frames_are_read_in_order_from_start_in_steps",
            "tests/motionmatcher/clips/test_video.py::test_check_length_at_the_edge",
        ],
        {
            "frames are read in reverse": (
                "range(self.start, self.start + count * self.step, self.step)",
                "range(self.start, self.start + count * self.step, self.step)[::-1]",
            ),
            "frames are read one too late": (
                "range(self.start, self.start + count * self.step, self.step)",
                "range(self.start + 1, self.start + 1 + count * self.step, self.step)",
            ),
            "the distance between frames is ignored": (
                "range(self.start, self.start + count * self.step, self.step)",
                "range(self.start, self.start + count)",
            ),
            "the first frame asked for is ignored": (
                "range(self.start, self.start + count * self.step, self.step)",
                "range(0, count * self.step, self.step)",
            ),
            "a clip may be one frame too short": (
                "if last >= num_frames:",
                "if last > num_frames:",
            ),
            "a clip must be a step longer than it need be": (
                "last = start + (count - 1) * step",
                "last = start + count * step",
            ),
        },
    ),
    *mutants(
        "motionmatcher/clips/video.py",
        [
            "tests/motionmatcher/clips/test_video.py::test_a_circle_stays_a_circle",
            "tests/motionmatcher/clips/test_video.py::test_the_centre_is_cropped_and_pixels_kept_when_no_resize_is_needed",
            "tests/motionmatcher/clips/test_video.py::test_shrinking_counts_all_pixels_and_rounds",
            "tests/motionmatcher/clips/test_video.py::test_bucket_size",
        ],
        {
            "rows and columns are exchanged": (
                ".permute(0, 3, 1, 2)  # (F, 3, H, W)",
                ".permute(0, 3, 2, 1)",
            ),
            "a clip fits into the size instead of covering it": (
                "scale = max(width / clip_width, height / clip_height)",
                "scale = min(width / clip_width, height / clip_height)",
            ),
            "the top is cropped, not the centre": (
                "top, left = (covering[0] - height) // 2",
                "top, left = 0",
            ),
            "resizing picks pixels instead of averaging": ("antialias=True", "antialias=False"),
            "values are cut off instead of rounded": (
                "frame.round().clamp(0, 255)",
                "frame.clamp(0, 255)",
            ),
            "a bucket has the turned aspect ratio": (
                "nearest_multiple(math.sqrt(area * aspect)), nearest_multiple(math.sqrt(area / aspect))",
                "nearest_multiple(math.sqrt(area / aspect)), nearest_multiple(math.sqrt(area * aspect))",
            ),
        },
    ),
]

REFERENCE = mutants(
    "motionmatcher/clips/reference.py",
    "tests/motionmatcher/clips/test_reference.py",
    {
        "the choice of frames is not part of the cache's key": (
            '{"path": self.path, **self.frames.place()}',
            '{"path": self.path}',
        ),
        "latents of another seed are taken": ('            "seed": self.seed,\n', ""),
        "latents of another base are taken": (
            '            "base": self.base.fingerprint,\n            "seed"',
            '            "seed"',
        ),
        "inversions of another number of steps are taken": (
            '            "num_inference_steps": num_steps,\n',
            "",
        ),
        "inversion is not under the empty prompt": (
            'text.encode([""])',
            'text.encode(["A cat."])',
        ),
        "an edited clip is trained on from the cache": (
            'if then.get("clip_content") not in (None, now["clip_content"]):',
            "if False:",
        ),
        "a fingerprint is of the shape alone": (
            "hashlib.sha256(values.tobytes())",
            "hashlib.sha256(str(values.shape).encode())",
        ),
    },
)

READER: list[Mutant] = [*TIMES, *FILES, *VIDEO, *REFERENCE]
