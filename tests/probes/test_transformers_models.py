"""Networks of Hugging Face folders; skipped where the extra ``[hf]`` is not installed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from probes import SliceSettings
from probes.errors import InputError
from probes.runs import Source, measure

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


def test_text_goes_through_the_folder_s_own_tokenizer(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    saved("GPT2LMHeadModel", tmp_path / "model")
    sizes = SIZES["GPT2LMHeadModel"] | {"n_positions": 64}
    kind = transformers.GPT2LMHeadModel
    kind(kind.config_class(**sizes)).save_pretrained(tmp_path / "model")
    words = [f"w{k}" for k in range(39)]
    model = tokenizers.models.WordLevel({"?": 0, **{w: k + 1 for k, w in enumerate(words)}}, unk_token="?")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "model" / "tokenizer.json"))
    random = np.random.default_rng(0)
    (tmp_path / "text.txt").write_text(" ".join(random.choice(words, 400)), "utf-8")
    source = Source((str(tmp_path / "model"),), data=f"text:{tmp_path / 'text.txt'}")
    settings = SliceSettings(etas=np.array([0.0, 0.01]), samples=2, limit=False, curvature=False)
    found = measure(source, settings)
    assert found.attrs["number_of_examples"] == 400 // 64
    assert found.attrs["loss"] == "next-token"
    assert float(found["loss"][0, 1]) < float(found["loss"][0, 0])


def changed(folder: Path, **values: Any) -> None:
    content = json.loads((folder / "config.json").read_text("utf-8")) | values
    (folder / "config.json").write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"auto_map": {"AutoModel": "evil.py--Evil"}}, "code of its own"),
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
