"""UMT5 gives the states that `WanPipeline` gives, is read when it must be, and is gone afterwards."""

import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanPipeline
from safetensors.torch import load_file, save_file
from transformers import UMT5EncoderModel

from motionmatcher.bases import t5_text
from motionmatcher.bases.config_file import BaseConfig, BaseFolder
from motionmatcher.bases.t5_text import T5Text, clean_prompt
from motionmatcher.errors import UserError
from motionmatcher.files import WriteError
from testbed.random_base import write_random_wan

CPU = torch.device("cpu")
PROMPTS = [
    "A cat walks on the grass.",
    "",
    "  two\n \tdogs &amp;amp; “quotes”, a cafÃ© ",
    "long " * 200,  # 1000 tokens
]


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_wan(tmp_path_factory.mktemp("wan"))


class Shelf:
    """Hands out encoders, and knows which of them are still alive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.handed_out: list[weakref.ref] = []

    def __call__(self) -> UMT5EncoderModel:
        encoder = UMT5EncoderModel.from_pretrained(
            self.folder, subfolder="text_encoder", dtype=T5Text.dtype
        ).eval()
        self.handed_out.append(weakref.ref(encoder))
        return encoder

    def alive(self) -> int:
        return sum(reference() is not None for reference in self.handed_out)


@pytest.fixture
def shelf(wan_folder: Path) -> Shelf:
    return Shelf(wan_folder)


@pytest.fixture
def text(wan_folder: Path, shelf: Shelf) -> T5Text:
    return make(wan_folder, shelf)


def make(folder: Path, shelf: Shelf, fingerprint: str = "f" * 16) -> T5Text:
    tokenizer = T5Text.read_tokenizer(folder / "tokenizer", 512)
    return T5Text({"d_model": 32}, tokenizer, shelf, CPU, lambda: fingerprint)


def held(text: T5Text) -> list[torch.Tensor]:
    return list(text._states.values())


def test_states_are_the_pipeline_s_to_the_bit(text: T5Text, shelf: Shelf, wan_folder: Path) -> None:
    states = text.encode(PROMPTS)
    assert states.shape == (4, 512, 32)
    assert states.dtype == torch.float32
    pipeline = WanPipeline.from_pretrained(wan_folder, text_encoder=shelf())
    for prompt, ours in zip(PROMPTS, states, strict=True):
        with (
            torch.no_grad()
        ):  # as it is called; kernels that keep what backward needs round otherwise
            theirs, _ = pipeline.encode_prompt(
                prompt, do_classifier_free_guidance=False, max_sequence_length=512
            )
        assert theirs.dtype == torch.bfloat16
        assert torch.equal(ours, theirs[0].float())


def test_states_past_the_end_are_zero(text: T5Text) -> None:
    for prompt, states in zip(PROMPTS, text.encode(PROMPTS), strict=True):
        count = text.count_tokens(prompt)
        assert states[:count].any(dim=1).all()
        assert not states[count:].any()
    counts = [text.count_tokens(prompt) for prompt in PROMPTS]
    # Words of characters with a space piece before each, and the end.
    assert counts == [len("A cat walks on the grass.") + 1 + 1, 1, counts[2], 512]
    assert counts[2] == text.count_tokens('two dogs & "quotes", a café')


def test_prompts_are_cleaned_as_wan_does() -> None:
    assert clean_prompt(PROMPTS[2]) == 'two dogs & "quotes", a café'


def test_what_is_cut_off(text: T5Text) -> None:
    assert text.cut_off_notes(PROMPTS[:3]) == []
    (line,) = text.cut_off_notes(["a" * 510 + "  bcd", "a"])
    assert "only 512 tokens are read; left out:" in line
    assert line.endswith('"bcd"')


def test_an_encoder_lives_only_while_it_encodes(text: T5Text, shelf: Shelf) -> None:
    assert len(shelf.handed_out) == 0
    text.prepare(["a", "b", "a"])
    assert len(shelf.handed_out) == 1
    first = text.encode(["b", "a", " a "])
    assert len(shelf.handed_out) == 1, "known prompts need no encoder"
    assert torch.equal(first[1], first[2])
    text.encode(["b", "c"])
    assert len(shelf.handed_out) == 2
    assert shelf.alive() == 0
    assert all(len(states) == states.untyped_storage().nbytes() // 64 for states in held(text))


def test_states_do_not_depend_on_the_other_prompts(wan_folder: Path, shelf: Shelf) -> None:
    together = make(wan_folder, shelf).encode(["a cat", "two dogs that run", ""])
    alone = make(wan_folder, shelf).encode(["two dogs that run"])
    assert torch.equal(together[1:2], alone)


def test_states_in_a_file(wan_folder: Path, shelf: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "run" / "text_states.safetensors"
    writer = make(wan_folder, shelf)
    writer.read_states(file)  # missing, so there are none
    states = writer.encode(["a cat", ""])
    writer.write_states(file)
    content = file.read_bytes()
    writer.write_states(file)
    assert file.read_bytes() == content

    reader = make(wan_folder, shelf)
    reader.read_states(file)
    assert torch.equal(reader.encode(["", "a cat"]), states.flip(0))
    assert len(shelf.handed_out) == 1
    assert sorted(len(tensor) for tensor in load_file(file).values()) == [1, 7]
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.bfloat16}

    other_prompt = make(wan_folder, shelf)
    other_prompt.encode(["a dog"])
    other_prompt.write_states(file)  # beside those of others
    last = make(wan_folder, shelf)
    last.read_states(file)
    last.encode(["a dog", "a cat", ""])
    assert len(shelf.handed_out) == 2


def test_states_of_another_encoder_do_not_count(
    wan_folder: Path, shelf: Shelf, tmp_path: Path
) -> None:
    file = tmp_path / "text_states.safetensors"
    one, other = make(wan_folder, shelf), make(wan_folder, shelf, fingerprint="0" * 16)
    one.encode(["a cat"])
    one.write_states(file)
    other.read_states(file)
    other.encode(["a cat"])
    assert len(shelf.handed_out) == 2


def damage_bytes(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def damage_values(file: Path) -> None:
    rewrite(file, lambda tensor: tensor * torch.nan)


def damage_width(file: Path) -> None:
    rewrite(file, lambda tensor: tensor[:, 1:].contiguous())


def rewrite(file: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    from safetensors import safe_open

    with safe_open(file, "pt") as content:
        metadata = content.metadata()
    save_file({name: change(tensor) for name, tensor in load_file(file).items()}, file, metadata)


def forget_a_prompt(file: Path) -> None:
    from motionmatcher.tensor_files import read_tensors, write_tensors

    tensors, description = read_tensors(file)
    write_tensors(file, tensors, {**description, "prompts": []})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_bytes, "is damaged: .*Delete it"),
        (damage_values, "states_0 holds NaN or infinity"),
        (damage_width, r"states_0 has the shape \[7, 31\], not \[7, 32\]"),
        (forget_a_prompt, "does not hold what its description says: delete it"),
    ],
)
def test_a_damaged_file(
    text: T5Text, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    file = tmp_path / "text_states.safetensors"
    text.encode(["a cat"])
    text.write_states(file)
    damage(file)
    with pytest.raises(UserError, match=f"^{file}.*{message}") as caught:
        text.read_states(file)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_cannot_be_written_is_a_note(
    text: T5Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise WriteError(tmp_path, "no space left")

    monkeypatch.setattr(t5_text, "write_text_states", full)
    text.encode(["a"])
    text.write_states(tmp_path / "text_states.safetensors")
    assert "the prompts will have to be encoded again" in capsys.readouterr().out


def test_no_room_on_the_device(
    text: T5Text,
    shelf: Shelf,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    encoder = shelf()
    size = sum(weight.nbytes for weight in encoder.parameters())
    text.device = torch.device("cuda")
    monkeypatch.setattr(t5_text, "available_bytes", lambda device: 2 * size)
    assert text._place(encoder) == torch.device("cuda")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(t5_text, "available_bytes", lambda device: size)
    assert text._place(encoder) == CPU
    assert "are free on cuda: it computes on the CPU" in capsys.readouterr().out


# --- its folder


@pytest.fixture
def folder(wan_folder: Path, tmp_path: Path) -> Path:
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(wan_folder / part, tmp_path / part)
    return tmp_path


def config_of(folder: Path, **values: Any) -> BaseConfig:
    file = folder / "text_encoder/config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    return BaseConfig(file, "Copy it anew.")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"d_model": 0}, "d_model must be at least 1, not 0"),
        ({"d_ff": "64"}, "d_ff must be a whole number, not '64'"),
        ({"num_layers": 0}, "num_layers must be at least 1, not 0"),
        ({"num_heads": None}, "num_heads must be a whole number, not null"),
        ({"relative_attention_num_buckets": 3}, "relative_attention_num_buckets must be at least 4"),
        ({"relative_attention_max_distance": 8}, "relative_attention_max_distance must be at least 9"),
        ({"dense_act_fn": "gelu77"}, "dense_act_fn must be of .*, not 'gelu77'"),
        ({"feed_forward_proj": "gated"}, "feed_forward_proj must be of .*, not 'gated'"),
        ({"layer_norm_epsilon": -1}, "layer_norm_epsilon must be at least 0, not -1"),
    ],
)  # fmt: skip
def test_a_wrong_config(folder: Path, values: dict[str, Any], message: str) -> None:
    config = config_of(folder, **values)
    with pytest.raises(UserError, match=f"^{config.file}: {message}"):
        T5Text.check_config(config)


@pytest.mark.parametrize("projection", ["gated-gelu", "relu", "gated-silu"])
def test_configs_that_are_taken(folder: Path, projection: str) -> None:
    config = config_of(folder, feed_forward_proj=projection)
    T5Text.check_config(config)
    UMT5EncoderModel(UMT5EncoderModel.config_class(**config.content))


def test_the_tokenizer_is_checked(folder: Path) -> None:
    base, config = BaseFolder("base", folder, "Copy it anew."), config_of(folder)
    T5Text.check_tokenizer(base, config)
    file = folder / "tokenizer/tokenizer.json"
    few = config_of(folder, vocab_size=50)
    message = f"^{file}: its tokens go up to 97, but the text encoder knows 50"
    with pytest.raises(UserError, match=message):
        T5Text.check_tokenizer(base, few)
    for damaged in ({"a": 1}, [], ["a"], [["a", "b"]], [["a", -2.0, 1]], None):
        file.write_text(json.dumps({"model": {"vocab": damaged}}))
        with pytest.raises(UserError, match=f"^{file} is damaged: it holds no list of pieces"):
            T5Text.check_tokenizer(base, config)
    file.unlink()
    with pytest.raises(UserError, match=f"^{file} is missing"):
        T5Text.check_tokenizer(base, config)


@pytest.mark.parametrize(
    ("length", "num_tokens"), [(None, 512), (1e30, 512), (1024, 512), (512, 512), (226, 226)]
)
def test_the_length_of_a_prompt(folder: Path, length: Any, num_tokens: int) -> None:
    file = folder / "tokenizer/tokenizer_config.json"
    file.write_text(json.dumps({"model_max_length": length}))
    assert T5Text.num_tokens(BaseConfig(file, "Copy it anew."), {}) == num_tokens
