"""Networks of Hugging Face folders; skipped where the extra ``[hf]`` is not installed."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from probes import SliceSettings
from probes.checkpoints.checkpoint import read_checkpoint
from probes.errors import InputError
from probes.networks.frozen_network import load_network
from probes.networks.hugging_face import tokenised_windows
from probes.runs.run import measure
from probes.runs.source import Source, prepare

transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "GPT2LMHeadModel": {"vocab_size": 40, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 2},
    "BertForMaskedLM": {
        "vocab_size": 40,
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 20,
    },
    "DistilBertForSequenceClassification": {
        "vocab_size": 40,
        "dim": 12,
        "n_layers": 1,
        "n_heads": 2,
        "hidden_dim": 20,
        "num_labels": 3,
    },
}


def saved(name: str, folder: Path, **options: Any) -> Any:
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    model = kind(kind.config_class(**SIZES[name])).eval()
    model.save_pretrained(folder, **options)
    return model


def arrays(name: str, path: Path) -> Path:
    random = np.random.default_rng(0)
    x = random.integers(0, 40, (7, 8))
    y = {
        "GPT2LMHeadModel": x,
        "BertForMaskedLM": np.where(random.random(x.shape) < 0.4, x, -100),
        "DistilBertForSequenceClassification": random.integers(0, 3, 7),
    }[name]
    if name == "BertForMaskedLM":
        y[:, 0] = x[:, 0]
    np.savez(path, x=x, y=y)
    return path


def expected_loss(name: str, model: Any, data: Path) -> torch.Tensor:
    content = np.load(data)
    x, y = torch.from_numpy(content["x"]), torch.from_numpy(content["y"])
    logits = model(input_ids=x).logits
    losses = []
    for k in range(len(x)):  # the mean over examples of the mean over tokens
        if name == "GPT2LMHeadModel":
            losses.append(torch.nn.functional.cross_entropy(logits[k, :-1], x[k, 1:]))
        else:
            one = (logits[k], y[k]) if y.ndim == 2 else (logits[k : k + 1], y[k : k + 1])
            losses.append(torch.nn.functional.cross_entropy(*one))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("name", SIZES)
def test_a_folder_is_probed_as_it_is(name: str, sharded: bool, tmp_path: Path) -> None:
    model = saved(name, tmp_path / "model", **({"max_shard_size": "8KB"} if sharded else {}))
    assert (tmp_path / "model" / "model.safetensors.index.json").is_file() == sharded
    data = arrays(name, tmp_path / "data.npz")
    loss = "next-token" if name == "GPT2LMHeadModel" else "cross-entropy"
    source = Source((str(tmp_path / "model"),), data=str(data), loss=loss)
    etas = np.array([0.0, 1e-3, 1e-2])
    found = measure(source, SliceSettings(etas=etas, dtype="float64", limit=False, samples=4)).isel(
        checkpoint=0
    )
    twin = copy.deepcopy(model).double()

    def at() -> tuple[float, dict[str, torch.Tensor]]:
        twin.zero_grad()
        value = expected_loss(name, twin, data)
        value.backward()
        return value.item(), {n: p.grad.clone() for n, p in twin.named_parameters() if p.grad is not None}

    start = {n: p.detach().clone() for n, p in twin.named_parameters()}
    _, gradients = at()
    for k, eta in enumerate(etas):
        with torch.no_grad():
            for n, parameter in twin.named_parameters():
                g = gradients.get(n)
                if g is not None and float(g.norm()) > 0:
                    parameter.copy_(start[n] - eta * start[n].norm() * g / g.norm())
        value, moved = at()
        assert float(found["loss"][k]) == pytest.approx(value, rel=1e-9)
        for n in moved:
            size = float(gradients[n].norm())
            if n in found["layer"] and size > 1e-9:
                change = float((moved[n] - gradients[n]).norm()) / size
                assert float(found["gradient_change"].sel(layer=n)[k]) == pytest.approx(
                    change, rel=1e-7, abs=1e-9
                )
    assert np.isfinite(found["curvature"])  # plain attention can be differentiated twice


def worded(folder: Path, *special: str) -> list[str]:
    """A tokenizer of 40 words beside a model."""
    tokenizers = pytest.importorskip("tokenizers")
    words = [f"w{k}" for k in range(39 - len(special))]
    known = {"?": 0, **{word: k + 1 for k, word in enumerate([*words, *special])}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(known, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return words


@pytest.mark.parametrize(
    ("name", "loss"), [("GPT2LMHeadModel", "next-token"), ("BertForMaskedLM", "cross-entropy")]
)
def test_text_goes_through_the_folder_s_own_tokenizer(
    name: str, loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES["GPT2LMHeadModel"], "n_positions", 64)
    saved(name, tmp_path / "model")
    words = worded(tmp_path / "model", "[MASK]")
    text = np.random.default_rng(0).choice(words, 400)
    (tmp_path / "text.txt").write_text(" ".join(text), "utf-8")
    spec = f"text:{tmp_path / 'text.txt'}"
    settings = SliceSettings(etas=np.array([0.0, 0.01]), samples=2, limit=False, curvature=None)
    found = measure(Source((str(tmp_path / "model"),), data=spec), settings)
    assert found.attrs["number_of_examples"] == 400 // 64
    assert found.attrs["loss"] == loss
    assert float(found["loss"][0, 1]) < float(found["loss"][0, 0])


def test_masks_hide_some_tokens_of_every_window(tmp_path: Path) -> None:
    words = worded(tmp_path, "[MASK]")
    text = np.random.default_rng(0).choice(words, 6400)
    (tmp_path / "text.txt").write_text(" ".join(text), "utf-8")
    spec = f"text:{tmp_path / 'text.txt'}"
    plain, none = tokenised_windows(spec, tmp_path)
    x, y = tokenised_windows(spec, tmp_path, masks=True)
    assert none is None
    assert y is not None
    hidden = y != -100
    assert torch.equal(torch.where(hidden, y, x), plain)  # nothing but what is hidden was changed
    assert bool((x[hidden] == 39).all())
    assert bool(hidden.any(1).all())
    assert 0.13 < float(hidden.double().mean()) < 0.17  # 6,400 draws: ± 4 standard deviations of 0.0045
    worded(tmp_path)
    with pytest.raises(InputError, match="knows no mask"):
        tokenised_windows(spec, tmp_path, masks=True)


def saved_with(folder: Path, **more: torch.Tensor) -> None:
    """Write more tensors, or none instead of some, into a folder's weights."""
    state = load_file(folder / "model.safetensors")
    for name, tensor in more.items():
        state.pop(name, None)
        if tensor.numel():
            state[name] = tensor
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def test_old_folders_hold_what_networks_no_longer_have(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model = saved("BertForMaskedLM", folder)
    old = {"bert.embeddings.position_ids": torch.arange(512)[None]}
    for name, tensor in model.state_dict().items():
        if "LayerNorm" in name:  # as they were called before 2019
            old |= {name: torch.ones(0), name.replace("weight", "gamma").replace("bias", "beta"): tensor + 1}
    saved_with(folder, **old)
    found = load_network(read_checkpoint(folder)).network.state_dict()
    assert set(found) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(found[name], tensor + ("LayerNorm" in name)), name
    # and in a network that the user makes of it
    config = transformers.BertConfig(**SIZES["BertForMaskedLM"])
    own = load_network(read_checkpoint(folder), network=lambda: transformers.BertForMaskedLM(config)).network
    assert all(torch.equal(found[name], tensor) for name, tensor in own.state_dict().items())


def test_what_has_no_place_is_left_out_on_request_only(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    saved("BertForMaskedLM", folder)
    saved_with(
        folder,
        **{
            "cls.seq_relationship.weight": torch.ones(2, 12),
            "cls.seq_relationship.bias": torch.full((2,), torch.nan),
        },
    )
    data = arrays("BertForMaskedLM", tmp_path / "data.npz")
    source = Source((str(folder),), data=str(data))
    with pytest.raises(InputError, match=r"NaN.*`ignore_tensors='cls.seq_relationship.bias'`"):
        prepare(source)
    with pytest.raises(InputError, match=r"no place.*`ignore_tensors='cls.seq_relationship.weight'`"):
        prepare(replace(source, ignore_tensors=("cls.seq_relationship.bias",)))
    prepare(replace(source, ignore_tensors=("cls.seq*",)))
    with pytest.raises(InputError, match=r"`ignore_tensors='\*.nothing'`: matches no tensor"):
        prepare(replace(source, ignore_tensors=("cls.seq*", "*.nothing")))
    with pytest.raises(InputError, match=r"no tensor bert\.embeddings\.word_embeddings\.weight"):
        prepare(replace(source, ignore_tensors=("cls.seq*", "*word*", "*predictions.decoder*")))


def changed(folder: Path, **values: Any) -> None:
    content = json.loads((folder / "config.json").read_text("utf-8")) | values
    (folder / "config.json").write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"auto_map": {"AutoModel": "evil.py--Evil"}}, "code of its own"),
        ({"text_config": [{"auto_map": {"AutoModel": "evil.py--Evil"}}]}, "code of its own"),
        ({"vision_config": {"backbone": "somebody/else"}}, "from elsewhere"),
        ({"architectures": ["TimmWrapperForImageClassification"]}, "TimmWrapper"),
        ({"architectures": ["os"]}, "os"),
        ({"architectures": ["NoSuchForCausalLM"]}, "no such model"),
        ({"architectures": None}, "no architecture"),
        ({"n_layer": 3}, "would be random"),
        ({"n_embd": 24}, "config.json says"),
        ({"vocab_size": 10**12}, "config.json says"),
        ({"n_head": "many"}, "cannot be built"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    values: dict[str, Any], why: str, tmp_path: Path
) -> None:
    saved("GPT2LMHeadModel", tmp_path / "model")
    changed(tmp_path / "model", **values)
    data = arrays("GPT2LMHeadModel", tmp_path / "data.npz")
    settings = SliceSettings(etas=np.array([0.0, 0.01]))
    with pytest.raises(InputError, match=why) as caught:
        measure(Source((str(tmp_path / "model"),), data=str(data), loss="next-token"), settings)
    assert "\n" not in str(caught.value)
