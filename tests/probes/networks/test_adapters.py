"""Adapters of the PEFT library in their base networks; skipped where the extra ``[hf]`` is not installed."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from probes import InputError, SliceSettings
from probes.checkpoints.checkpoint import read_checkpoint
from probes.checkpoints.order import training_order
from probes.networks.frozen_network import load_network
from probes.runs.run import measure
from probes.runs.source import Source, prepare

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

SIZES: dict[str, dict[str, Any]] = {
    "GPT2LMHeadModel": {"vocab_size": 40, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 2},
    "DistilBertForSequenceClassification": {
        "vocab_size": 40, "dim": 12, "n_layers": 1, "n_heads": 2, "hidden_dim": 20, "num_labels": 3,
    },
}  # fmt: skip
LORA: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["c_attn", "c_proj"]},
    "ranks": {
        "target_modules": "all-linear",
        "rank_pattern": {"h.0.attn.c_attn": 2},
        "alpha_pattern": {"h.1.mlp.c_fc": 32},
        "use_rslora": True,
    },
    "magnitudes, biases": {"target_modules": ["c_fc"], "use_dora": True, "bias": "lora_only"},
    "embedding": {"target_modules": ["wte", "c_attn"]},
    "head": {"target_modules": ["q_lin", "v_lin"], "task_type": "SEQ_CLS"},
}


def made(way: str, folder: Path) -> Any:
    """A random base and adapter in folders of their own; the network with both, as the library has it."""
    name = "DistilBertForSequenceClassification" if way == "head" else "GPT2LMHeadModel"
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    base = kind(kind.config_class(**SIZES[name])).eval()
    base.save_pretrained(folder / "base")
    with warnings.catch_warnings(action="ignore"):
        model = peft.get_peft_model(base, peft.LoraConfig(r=4, lora_alpha=8, lora_dropout=0.5, **LORA[way]))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        model.save_pretrained(folder / "adapter")
    return model.eval()


def data_of(way: str, path: Path) -> Path:
    random = np.random.default_rng(0)
    x = random.integers(0, 40, (5, 8))
    np.savez(path, x=x, y=random.integers(0, 3, 5) if way == "head" else x)
    return path


def loss_of(way: str, network: Any, data: Path) -> Tensor:
    content = np.load(data)
    x, y = torch.from_numpy(content["x"]), torch.from_numpy(content["y"])
    logits = network(input_ids=x).logits
    if way == "head":
        return nn.functional.cross_entropy(logits, y)
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), x[:, 1:].flatten())


def compared(found: xr.Dataset, way: str, network: Any, data: Path) -> set[str]:
    """Compare a slice with a loop in float64, of the parameters that move; their names."""
    twin = copy.deepcopy(network).double()
    if hasattr(twin, "set_attn_implementation"):
        twin.set_attn_implementation("eager")
    moving = {n: p for n, p in twin.named_parameters() if p.requires_grad}
    start = {n: p.detach().clone() for n, p in moving.items()}

    def at() -> tuple[float, dict[str, Tensor]]:
        twin.zero_grad()
        value = loss_of(way, twin, data)
        value.backward()
        return value.item(), {n: p.grad.clone() for n, p in moving.items() if p.grad is not None}

    _, gradients = at()
    for k, eta in enumerate(found["eta"].values):
        with torch.no_grad():
            for n, g in gradients.items():
                if float(g.norm()) > 0:
                    moving[n].copy_(start[n] - eta * start[n].norm() * g / g.norm())
        value, moved = at()
        assert float(found["loss"][k]) == pytest.approx(value, rel=1e-9)
        for n in moved:
            size = float(gradients[n].norm())
            if size > 1e-9:
                change = float((moved[n] - gradients[n]).norm()) / size
                assert float(found["gradient_change"].sel(layer=n)[k]) == pytest.approx(
                    change, rel=1e-6, abs=1e-9
                )
    return {n for n in gradients if float(gradients[n].norm()) > 1e-9}


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("way", LORA)
def test_an_adapter_against_a_loop(way: str, merged: bool, tmp_path: Path) -> None:
    model = made(way, tmp_path)
    data = data_of(way, tmp_path / "data.npz")
    source = Source(
        (str(tmp_path / "adapter"),),
        base=str(tmp_path / "base"),
        merge_adapter=merged,
        data=str(data),
        loss="cross-entropy" if way == "head" else "next-token",
    )
    settings = SliceSettings(
        etas=np.array([0.0, 1e-3, 1e-2]), dtype="float64", limit=False, samples=2, spectra="none"
    )
    found = measure(source, settings).isel(checkpoint=0)
    weights = {str(name) for name in found["layer"].values[found["is_weight"].values]}
    treatment = dict(zip(found["layer"].values, found["treatment"].values, strict=True))
    if merged:
        with warnings.catch_warnings(action="ignore"):
            network = model.merge_and_unload().requires_grad_(True)
        assert set(treatment) == {name for name, _ in network.named_parameters()}
        assert set(treatment.values()) == {"perturbed"}
        assert compared(found, way, network, data) >= weights - {
            "distilbert.embeddings.position_embeddings.weight"
        }
        return
    moved = compared(found, way, model.get_base_model(), data)
    assert moved == {name for name, how in treatment.items() if how == "perturbed"}
    matrices = {name for name in treatment if "lora_" in name and "magnitude" not in name}
    assert matrices
    assert matrices <= weights & moved
    assert all(treatment[name] == "left alone: frozen" for name in treatment if "base_layer.weight" in name)


def test_a_network_of_ones_own_and_checkpoints_of_a_training(tmp_path: Path) -> None:
    def network() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))

    torch.save(network().state_dict(), tmp_path / "base.pt")
    for step in (2, 10):
        model = peft.get_peft_model(network(), peft.LoraConfig(r=2, lora_alpha=3, target_modules=["0"]))
        torch.manual_seed(step)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter)
        folder = tmp_path / "training" / f"checkpoint-{step}"
        model.save_pretrained(folder)
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    order = training_order([tmp_path / "training"])
    assert [path.name for path in order.paths] == ["checkpoint-2", "checkpoint-10"]
    assert order.places == [2, 10]
    base = read_checkpoint(tmp_path / "base.pt")
    adapter = read_checkpoint(order.paths[1])
    own = load_network(adapter, network=network, base=base)
    merged = load_network(adapter, network=network, base=base, merged=True)
    A, B = (adapter.tensors[f"base_model.model.0.lora_{part}.weight"] for part in "AB")
    torch.testing.assert_close(merged.network.state_dict()["0.weight"], network()[0].weight + 1.5 * B @ A)  # type: ignore[index]
    x = torch.randn(4, 6)
    torch.testing.assert_close(own.network(x), merged.network(x))
    assert {name for name, p in own.network.named_parameters() if p.requires_grad} == {
        f"0.lora_{part}.default.weight" for part in "AB"
    }
    digests = {
        own.digest,
        merged.digest,
        load_network(read_checkpoint(order.paths[0]), network=network, base=base).digest,
    }
    torch.save({n: t + 1 for n, t in network().state_dict().items()}, tmp_path / "base.pt")
    digests.add(load_network(adapter, network=network, base=read_checkpoint(tmp_path / "base.pt")).digest)
    assert len(digests) == 4


def refused(source: Source, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        prepare(source)
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_understood_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made("plain", tmp_path)
    data = data_of("plain", tmp_path / "data.npz")
    adapter, base = tmp_path / "adapter", tmp_path / "base"
    good = Source((str(adapter),), base=str(base), data=str(data), loss="next-token")
    refused(Source((str(adapter),), data=str(data)), str(adapter), "with `base`")
    refused(Source((str(base),), base=str(base), data=str(data)), "`base`: ", "is no adapter")
    refused(Source((str(base),), merge_adapter=True, data=str(data)), "`merge_adapter`: ", "is no adapter")
    about, weights = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    config, tensors = json.loads(about.read_text()), load_file(weights)
    for change, why in (
        ({"peft_type": "IA3"}, "of kind IA3, not LORA; merge it"),
        ({"trainable_token_indices": [1]}, "says trainable_token_indices"),
        ({"megatron_config": {"a": 1}, "megatron_core": "os"}, "says megatron_config"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"modules_to_save": ["(a+)+$"]}, "patterns"),
        ({"alpha_pattern": {"(.*)*x": 3}}, "patterns"),
        ({"alpha_pattern": [1]}, "patterns"),
        ({"lora_alpha": "many"}, "damaged"),
        ({"use_dora": "yes"}, "damaged"),
        ({"use_dora": True}, "no tensor base_model.model.transformer.h.0.attn.c_attn.lora_magnitude_vector"),
    ):
        about.write_text(json.dumps(config | change))
        refused(good, str(adapter), why)
    about.write_text("[" * 5000)
    refused(good, "adapter_config.json is damaged")
    about.write_text(json.dumps(config))
    first = next(name for name in tensors if "lora_B" in name)
    for change, why in (
        ({first: None}, "would be random"),
        ({first: torch.ones(13, 4)}, "has shape (13, 4)"),
        ({"base_model.model.other": torch.ones(2)}, "has no place in the adapter"),
        ({"base_model.model.nothing.lora_A.weight": torch.ones(4, 3)}, "it adapts nothing, which the base"),
        (dict.fromkeys(tensors) | {"x": torch.ones(2)}, "no adapter in it"),
    ):
        changed = {name: tensor for name, tensor in (tensors | change).items() if tensor is not None}
        save_file(changed, weights)
        refused(good, str(adapter), why)
    save_file(tensors, weights)
    prepare(good)
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    refused(good, "pip install 'deep-relative-trust[hf]'")
