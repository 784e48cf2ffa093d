"""The maths is the published maths: every recorded number, in fp64 and fp32."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from golden_case import (
    TrainingCase,
    extractor_settings,
    load_golden_base,
    loss_and_gradients,
    read_goldens,
    read_tensors,
    recorded_timesteps,
    relative_error,
    step_length,
    training_case,
)
from torch import Tensor

from evaluation.clip_metrics import clip_text_score, frame_consistency
from evaluation.motion_metrics import motion_discrepancy, track_distances
from motionmatcher.bases.base_model import BaseModel
from motionmatcher.bases.denoiser import PassMode
from motionmatcher.bases.lora import add_lora, load_lora, target_modules
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.config.settings import MotionExtractorSettings
from motionmatcher.diffusion.inversion import invert_ddim, mix_noise
from motionmatcher.diffusion.sampling import SamplingSettings, denoise_with_gate
from motionmatcher.diffusion.schedules import NoiseSchedule, add_noise, ddim_step
from motionmatcher.features.extractor import MotionExtractor
from motionmatcher.objectives.feature_matching import weigh_change

DTYPES = {"fp64": torch.float64, "fp32": torch.float32}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.config.getoption("--golden")
    if "recorded" in metafunc.fixturenames:
        cases = read_goldens(folder)["training_cases"]
        metafunc.parametrize("recorded", cases, ids=[case["name"] for case in cases])
    if "student_case" in metafunc.fixturenames:
        # Cases that differ in their scale factors alone have the same student.
        inputs = ("timesteps", "batch", "num_denoise_steps")
        cases = read_goldens(folder)["training_cases"]
        different = {str([case[name] for name in inputs]): case for case in reversed(cases)}
        metafunc.parametrize("student_case", different.values(), ids=lambda case: case["name"])
    for kind in ("motion", "clip"):
        if f"{kind}_case" in metafunc.fixturenames:
            names = read_goldens(folder)["evaluation"]
            found = [name.removeprefix(f"{kind}_") for name in names if name.startswith(kind)]
            metafunc.parametrize(f"{kind}_case", found)
    if "timestep" in metafunc.fixturenames:
        metafunc.parametrize("timestep", recorded_timesteps(folder))


@pytest.fixture(scope="module", params=list(DTYPES))
def precision(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def base_in(golden_dir: Path) -> Callable[[torch.dtype], BaseModel]:
    """The recorded base in a dtype, read once for all tests, without gradients of earlier ones."""
    load = cache(partial(load_golden_base, golden_dir))

    def give(dtype: torch.dtype) -> BaseModel:
        base: BaseModel = load(dtype)
        base.denoiser.zero_grad()
        return base

    return give


@pytest.fixture(scope="module")
def base(base_in: Callable[[torch.dtype], BaseModel], precision: str) -> BaseModel:
    return base_in(DTYPES[precision])


@pytest.fixture(scope="module")
def tolerances(golden_dir: Path) -> dict[str, Any]:
    return read_goldens(golden_dir)["tolerances"]


# The recording's fp32 roots, sqrt(abar_t) and sqrt(1 - abar_t), in units of the last place from those
# rounded correctly: its processor took some a little off. Found by fitting the recorded latents.
ROOTS_OFF = {
    401: (0, -1),
    601: (0, 1),
    701: (-1, 0),
    749: (0, -1),
    750: (-1, 1),
    801: (0, -1),
    901: (1, 1),
}


EXACT_SCALES = NoiseSchedule.scales


@pytest.fixture(autouse=True, scope="module")
def _recorded_roots() -> Iterator[None]:
    """Take the roots that the recording took, so that the rest can be compared to its precision."""

    def recorded_scales(
        self: NoiseSchedule, timesteps: Tensor | int, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        steps = torch.as_tensor(timesteps).reshape(-1).tolist()
        off = torch.tensor([ROOTS_OFF.get(int(step), (0, 0)) for step in steps])  # (B, 2)
        recorded = []
        for scale, units in zip(EXACT_SCALES(self, timesteps, like), off.T, strict=True):
            unit = np.spacing(scale.flatten().float().numpy())
            recorded.append(scale + (units * torch.from_numpy(unit)).to(scale).view_as(scale))
        return recorded[0], recorded[1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NoiseSchedule, "scales", recorded_scales)
        yield


@dataclass(frozen=True)
class ExactMatch:
    """The published formula in fp64: the loss of a change of latents, and its gradient.

    Attributes:
        case: The recorded step.
        true_latents: One step earlier, by the true noise.
        change: Of them, by the predicted noise.
        loss: Of this change.
        gradient: Of the loss in the predicted latents.
    """

    case: TrainingCase
    true_latents: Tensor
    change: Tensor
    loss: Tensor
    gradient: Tensor


MATCH_WEIGHTS = (2000.0, 2000.0)


@pytest.fixture(scope="module")
def exact_match(golden_dir: Path, base_in: Callable[[torch.dtype], BaseModel]) -> ExactMatch:
    recorded = read_goldens(golden_dir)["training_cases"][0]
    assert recorded["num_denoise_steps"] == 1
    case = training_case(golden_dir, recorded, torch.float64)
    exact = base_in(torch.float64)
    height, width = case.latents.shape[-2:]
    schedule, timesteps, earlier = exact.schedule, case.timesteps, case.timesteps - 1
    noisy = add_noise(case.latents, case.noise, timesteps, schedule)
    true_latents = ddim_step(noisy, case.noise, timesteps, earlier, schedule)
    with torch.no_grad():
        prediction = exact.denoiser.predict(noisy, timesteps, case.text_states)
    leaf = ddim_step(noisy, prediction, timesteps, earlier, schedule).requires_grad_()

    extractor = MotionExtractor(exact.denoiser, (height, width), case.settings.motion_extractor)
    target = extractor(true_latents, earlier, case.text_states)
    predicted = extractor(leaf, earlier, case.text_states)
    loss = weigh_change(predicted - target, *MATCH_WEIGHTS).total
    loss.backward()
    assert leaf.grad is not None
    change = leaf.detach() - true_latents
    return ExactMatch(case, true_latents, change, loss.detach(), leaf.grad)


@pytest.mark.parametrize(
    ("dtype", "least_cosine"),
    [
        (torch.float64, 0.995),
        (torch.float32, 0.995),
        (torch.float16, 0.995),
        (torch.bfloat16, 0.96),
    ],
)
def test_tangent_mode_approaches_the_difference(
    base_in: Callable[[torch.dtype], BaseModel],
    exact_match: ExactMatch,
    dtype: torch.dtype,
    least_cosine: float,
) -> None:
    """The loss and its gradient in the predicted latents, against fp64's published formula."""
    case = exact_match.case
    base = base_in(dtype)
    height, width = case.latents.shape[-2:]
    extractor = MotionExtractor(base.denoiser, (height, width), case.settings.motion_extractor)
    wide = torch.promote_types(dtype, torch.float32)
    step = exact_match.change.to(wide, copy=True).requires_grad_()
    change = extractor.change(
        exact_match.true_latents.to(wide), step, case.timesteps - 1, case.text_states
    )
    loss = weigh_change(change, *MATCH_WEIGHTS).total
    loss.backward()
    assert loss.item() == pytest.approx(exact_match.loss.item(), rel=0.03)
    assert step.grad is not None
    gradients = step.grad.double().flatten(), exact_match.gradient.flatten()
    assert torch.cosine_similarity(*gradients, dim=0) > least_cosine
    assert all(weight.grad is None for weight in base.denoiser.parameters())


def test_loss_and_gradients(
    golden_dir: Path,
    base: BaseModel,
    precision: str,
    recorded: dict[str, Any],
    tolerances: dict[str, Any],
) -> None:
    case = training_case(golden_dir, recorded, DTYPES[precision])
    loss, gradients = loss_and_gradients(base, case)

    tolerance = tolerances[precision]
    for value, name in (
        (loss.total, "loss"),
        (loss.parts["spatial"], "spatial_loss"),
        (loss.parts["temporal"], "temporal_loss"),
    ):
        assert float(value.detach()) == pytest.approx(recorded[name], rel=tolerance["loss_rel"]), (
            name
        )
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients.values()))
    assert norm == pytest.approx(recorded["grad_norm"], rel=tolerance["grads_rel_l2"])

    references = read_tensors(golden_dir, "grads")
    prefix = f"{recorded['name']}/"
    if not any(name.startswith(prefix) for name in references):
        return  # only some cases have their gradients recorded
    names = {"lora_A": "down", "lora_B": "up"}
    errors, squares = {}, []
    for name, gradient in gradients.items():
        ((module, kind),) = re.findall(r"^(.*)\.(lora_[AB])\.default\.weight$", name)
        reference = references[f"{prefix}{module}.{names[kind]}"].double()
        errors[name] = relative_error(gradient, reference)
        squares.append(
            (float((gradient.double() - reference).square().sum()), float(reference.square().sum()))
        )
    assert len(errors) == sum(name.startswith(prefix) for name in references)
    whole = math.sqrt(sum(a for a, _ in squares) / sum(b for _, b in squares))
    assert whole <= tolerance["grads_rel_l2"]
    if precision == "fp32":
        worst = max(errors, key=errors.__getitem__)
        assert errors[worst] <= tolerance["grads_worst_tensor_rel_l2"], worst


def test_loss_with_roots_rounded_correctly(
    golden_dir: Path,
    base_in: Callable[[torch.dtype], BaseModel],
    student_case: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(NoiseSchedule, "scales", EXACT_SCALES)
    case = training_case(golden_dir, student_case, torch.float64)
    loss, _ = loss_and_gradients(base_in(torch.float64), case)
    assert float(loss.total.detach()) == pytest.approx(student_case["loss"], rel=2e-4)


def test_tensors_of_a_training_step(
    golden_dir: Path, base: BaseModel, precision: str, timestep: int, tolerances: dict[str, Any]
) -> None:
    dtype, tolerance = DTYPES[precision], tolerances["fp32"]
    inputs = {name: value.to(dtype) for name, value in read_tensors(golden_dir, "inputs").items()}
    recorded = {
        name.removesuffix(f"_t{timestep}"): value.to(dtype)
        for name, value in read_tensors(golden_dir, "train").items()
        if name.endswith(f"_t{timestep}")
    }
    compared = set()

    def compare(name: str, value: Tensor, atol: str) -> None:
        if name in recorded:
            torch.testing.assert_close(value, recorded[name], rtol=0, atol=tolerance[atol])
            compared.add(name)

    t = torch.tensor([timestep])
    earlier = t - step_length(golden_dir, timestep)
    text = inputs["text_states"]
    with torch.no_grad():
        noisy = add_noise(inputs["latents"], inputs["noise"], t, base.schedule)
        student = base.denoiser.predict(noisy, t, text)
        compare("lora_eps", base.denoiser.predict(inputs["latents"], t, text), "prediction_atol")
        with base.denoiser.in_mode(PassMode(lora=False)):
            compare(
                "base_eps", base.denoiser.predict(inputs["latents"], t, text), "prediction_atol"
            )
        predicted = ddim_step(noisy, student, t, earlier, base.schedule)
        target = ddim_step(noisy, inputs["noise"], t, earlier, base.schedule)
        compare("noisy", noisy, "step_atol")
        compare("model_pred", student, "prediction_atol")
        compare("pred_sample", predicted, "step_atol")
        compare("target_sample", target, "step_atol")

        scales = {int(match[1]) for name in recorded if (match := re.search(r"_s(\d+)$", name))}
        for scale in scales:
            settings = MotionExtractorSettings(
                spatial_scale_factor=scale, temporal_scale_factor=scale
            )
            height, width = noisy.shape[-2:]
            extractor = MotionExtractor(base.denoiser, (height, width), settings)
            for name, latents in (("pred", predicted), ("target", target)):
                features = extractor(latents, earlier, text)
                compare(f"{name}_spatial_s{scale}", features.cross_attention, "maps_atol")
                compare(f"{name}_temporal_s{scale}", features.temporal_attention, "maps_atol")
    assert compared == set(recorded), "a recorded tensor that no test knows"


@pytest.fixture(scope="module")
def states(golden_dir: Path, precision: str) -> dict[str, Tensor]:
    return {k: v.to(DTYPES[precision]) for k, v in read_tensors(golden_dir, "inputs").items()}


@pytest.fixture(scope="module")
def sampling(golden_dir: Path) -> dict[str, Any]:
    return read_goldens(golden_dir)["sampling"]


@pytest.fixture(scope="module")
def assert_sampled(
    golden_dir: Path, precision: str, tolerances: dict[str, Any]
) -> Callable[[Tensor, str, str], None]:
    """Compare with the fp64 chain at its tolerance in fp64, and with what there is in fp32."""
    recorded = read_tensors(golden_dir, "sampling")

    def compare(value: Tensor, name: str, fp32_tolerance: str) -> None:
        exact = recorded.get(f"{name}_fp64ref")
        if precision == "fp64" and exact is not None:
            assert relative_error(value, exact) <= tolerances["fp64"]["sampling_rel_l2"]
        elif name in recorded:
            assert relative_error(value, recorded[name]) <= tolerances["fp32"][fp32_tolerance]

    return compare


@pytest.fixture(scope="module")
def inversion(base: BaseModel, states: dict[str, Tensor], sampling: dict[str, Any]) -> list[Tensor]:
    """The latents before the inversion and after each of its steps."""
    visited = []

    def denoise(latents: Tensor, timestep: float) -> Tensor:
        visited.append(latents)
        return base.denoiser.predict(latents, timestep, states["uncond_states"])

    steps = base.schedule.sampling_steps(sampling["num_steps"])
    with torch.no_grad(), base.denoiser.in_mode(PassMode(lora=False)):
        inverted = invert_ddim(states["latents"], denoise, steps, base.schedule)
    return [*visited, inverted]


def test_inversion(
    base: BaseModel,
    states: dict[str, Tensor],
    sampling: dict[str, Any],
    inversion: list[Tensor],
    assert_sampled: Callable,
) -> None:
    steps = base.schedule.sampling_steps(sampling["num_steps"])
    assert [timestep for timestep, _ in reversed(steps)] == sampling["inversion_visits"]
    assert_sampled(inversion[1], "inversion_lora_off_step1", "inversion_rel_l2")
    assert_sampled(inversion[5], "inversion_lora_off_step5", "inversion_rel_l2")
    assert_sampled(inversion[-1], "inversion_lora_off", "inversion_rel_l2")
    mixed = mix_noise(inversion[-1], states["eps"], sampling["noise_prior"])
    assert_sampled(mixed, "init_latents_lora_off_inv", "inversion_rel_l2")


@torch.no_grad()
@pytest.mark.parametrize("guided", [True, False])
def test_sampling_with_gate_and_noise_prior(
    base: BaseModel,
    states: dict[str, Tensor],
    sampling: dict[str, Any],
    inversion: list[Tensor],
    assert_sampled: Callable,
    guided: bool,
) -> None:
    steps = base.schedule.sampling_steps(sampling["num_steps"])
    assert [timestep for timestep, _ in steps] == sampling["timesteps"]
    start = mix_noise(inversion[-1], states["eps"], sampling["noise_prior"])
    *_, num_frames, height, width = start.shape
    settings = SamplingSettings(
        num_frames=num_frames,
        width=width * 8,
        height=height * 8,
        num_inference_steps=sampling["num_steps"],
        guidance_scale=sampling["guidance_scale"] if guided else 1,
        lora_scale=1,
        noise_prior=sampling["noise_prior"],
        min_timestep=sampling["min_timestep"],
    )
    sampled = denoise_with_gate(
        base, start, states["text_states"], states["uncond_states"], settings
    )
    if guided:
        assert_sampled(sampled, "sampled_lora_off_inv", "sampled_rel_l2")
    else:
        assert_sampled(sampled, "sampled_noguidance", "sampled_noguidance_rel_l2")


def test_lora_order_of_the_published_format(golden_dir: Path) -> None:
    lora = read_goldens(golden_dir)["lora"]
    unet = MotionUNet.from_config(MotionUNet.load_config(golden_dir / "unet"))
    modules = target_modules(unet, ["attention"])
    assert [[name, kind] for name in modules for kind in ("up", "down")] == lora["index_order"]
    assert len(modules) == lora["modules"]


def test_lora_size(golden_dir: Path, base_in: Callable[[torch.dtype], BaseModel]) -> None:
    lora = read_goldens(golden_dir)["lora"]
    unet = base_in(torch.float32).denoiser
    assert sum(w.numel() for w in unet.lora_parameters().values()) == lora["trainable_parameters"]


def test_lora_of_the_full_size(golden_dir: Path) -> None:
    zeroscope = read_goldens(golden_dir)["zeroscope"]
    with init_empty_weights():
        unet = MotionUNet()  # the class's own defaults are Zeroscope's architecture
        assert sum(w.numel() for w in unet.parameters()) == zeroscope["base_parameters"]
        assert target_modules(unet, ["attention"]) == zeroscope["module_order"]
        add_lora(unet, 32, ["attention"])
    trainable = sum(w.numel() for w in unet.lora_parameters().values())
    assert trainable == zeroscope["trainable_parameters_rank_32"]
    assert len(unet.lora_layers()) == zeroscope["lora_modules"]


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision_student(
    golden_dir: Path,
    base_in: Callable[[torch.dtype], BaseModel],
    half: torch.dtype,
    student_case: dict[str, Any],
) -> None:
    base = base_in(half)
    seen: list[torch.dtype] = []
    case = training_case(golden_dir, student_case, torch.float32)
    last = base.denoiser.conv_out
    with last.register_forward_hook(lambda module, args, out: seen.append(out.dtype)):
        loss, gradients = loss_and_gradients(base, case)

    assert seen == [half], "the student must really have computed in half precision"
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}
    assert float(loss.total.detach()) == pytest.approx(student_case["loss"], rel=0.1)


def test_checkpointing_changes_nothing(golden_dir: Path, student_case: dict[str, Any]) -> None:
    case = training_case(golden_dir, student_case, torch.float32)
    base = load_golden_base(golden_dir, torch.float32, lora=False)
    load_lora(base.denoiser, golden_dir / "lora", dropout=0.3)
    base.denoiser.train()
    results = []
    for checkpointing in (False, True):
        if checkpointing:
            base.denoiser.enable_gradient_checkpointing()
        torch.manual_seed(0)
        results.append(loss_and_gradients(base, case))
    (plain, plain_gradients), (again, again_gradients) = results
    assert float(plain.total.detach()) != pytest.approx(student_case["loss"], rel=1e-3), (
        "dropout must be live"
    )
    assert float(again.total.detach()) == pytest.approx(float(plain.total.detach()), rel=1e-6)
    for name, gradient in plain_gradients.items():
        assert relative_error(again_gradients[name], gradient) <= 1e-6, name


def test_extractor_reads_the_recorded_scale_factors(
    golden_dir: Path, recorded: dict[str, Any]
) -> None:
    unet = MotionUNet.from_config(MotionUNet.load_config(golden_dir / "unet"))
    layers = MotionExtractor(unet, (24, 24), extractor_settings(recorded)).layers
    assert layers.cross_size == (24 // recorded["spatial_scale_factor"],) * 2
    assert all(".attn2" in name and ".attentions." in name for name in layers.cross_attention)
    assert all(".temp_attentions." in name for name in layers.temporal_attention)


def test_motion_discrepancy(golden_dir: Path, tolerances: dict[str, Any], motion_case: str) -> None:
    expected = read_goldens(golden_dir)["evaluation"][f"motion_{motion_case}"]
    recorded = read_tensors(golden_dir, "eval")
    source, edited = (recorded[f"tracks_{motion_case}_{name}"] for name in ("source", "edited"))
    rtol = tolerances["evaluation"]["scores_rtol"]

    distances = track_distances(edited, source)
    torch.testing.assert_close(
        distances.float(),
        recorded[f"dists_{motion_case}"],
        rtol=tolerances["evaluation"]["dists_rtol"],
        atol=0,
    )
    assert distances.min(1).values.mean().item() == pytest.approx(expected["nn_rows"], rel=rtol)
    assert distances.min(0).values.mean().item() == pytest.approx(expected["nn_cols"], rel=rtol)
    score = motion_discrepancy(source, edited, expected["height"], expected["width"])
    assert score == pytest.approx(expected["score"], rel=rtol)


def test_clip_scores(golden_dir: Path, tolerances: dict[str, Any], clip_case: str) -> None:
    expected = read_goldens(golden_dir)["evaluation"][f"clip_{clip_case}"]
    recorded = read_tensors(golden_dir, "eval")
    frames, text = recorded[f"clip_frames_{clip_case}"], recorded[f"clip_text_{clip_case}"]
    atol = tolerances["evaluation"]["clip_atol"]
    assert clip_text_score(frames, text) == pytest.approx(expected["clip_t"], abs=atol)
    assert frame_consistency(frames) == pytest.approx(expected["frame_consistency"], abs=atol)
