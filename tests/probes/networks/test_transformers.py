"""The commonest families of the transformers library, small and with random weights, against loops in float64.

Skipped where the extra ``[hf]`` is not installed.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from probes import SliceSettings
from probes.runs.run import measure
from probes.runs.source import Source

transformers = pytest.importorskip("transformers")

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "other-networks.md"
WORDS, COUNT, LENGTH = 40, 5, 7
BLOCKS = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}


@dataclass(frozen=True)
class Family:
    """A class of the library: its configuration, what its inputs are called, and how many weights there are.

    Attributes:
        sizes: of the configuration.
        uses: how often the weight matrices are used, in all: L. Two blocks, then the tables and heads.
        kinds: the kinds of parameters beside linear maps, biases and norms, and how many there are of each.
        inputs: their names.
        labels: of each token, of each example, or none where each token is the next one's label.
    """

    sizes: dict[str, Any]
    uses: int
    kinds: dict[str, int]
    inputs: tuple[str, ...] = ("input_ids",)
    labels: str = "next"


FAMILIES = {
    # 6 linear maps a block: query, key, value, output, and two of the feed-forward network
    "BertForMaskedLM": Family(BLOCKS, 2 * 6 + 2 + 3, {"embedding": 3}, labels="token"),
    "RobertaForMaskedLM": Family(
        {**BLOCKS, "max_position_embeddings": 20}, 2 * 6 + 2 + 3, {"embedding": 3}, labels="token"
    ),
    "DistilBertForSequenceClassification": Family(
        {"dim": 12, "n_layers": 2, "n_heads": 2, "hidden_dim": 20, "num_labels": 3, "max_position_embeddings": 20},
        2 * 6 + 2 + 2,
        {"embedding": 2},
        labels="class",
    ),
    # 4 a block: query, key and value are one
    "GPT2LMHeadModel": Family(
        {"n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 2}, 2 * 4 + 1 + 2, {"embedding": 2}
    ),
    "GPTNeoXForCausalLM": Family(BLOCKS, 2 * 4 + 1 + 1, {"embedding": 1}),
    "OPTForCausalLM": Family(
        {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 20,
         "word_embed_proj_dim": 8, "max_position_embeddings": 20},
        2 * 6 + 2 + 1 + 2,
        {"embedding": 2},
    ),
    # 7 a block: the feed-forward network has a gate
    "LlamaForCausalLM": Family({**BLOCKS, "num_key_value_heads": 1}, 2 * 7 + 1 + 1, {"embedding": 1}),
    "MistralForCausalLM": Family({**BLOCKS, "num_key_value_heads": 1}, 2 * 7 + 1 + 1, {"embedding": 1}),
    "Qwen2ForCausalLM": Family({**BLOCKS, "num_key_value_heads": 1}, 2 * 7 + 1 + 1, {"embedding": 1}),
    # 6 a block, 10 in the decoder's; the encoder's and the decoder's table of relative positions is used in each block
    "T5ForConditionalGeneration": Family(
        {"d_model": 12, "d_kv": 6, "d_ff": 20, "num_layers": 2, "num_heads": 2},
        2 * 6 + 2 * 10 + 2 * 2 + 2 + 1,
        {"embedding": 3},
        inputs=("input_ids", "decoder_input_ids"),
        labels="token",
    ),
    "ViTForImageClassification": Family(
        {**BLOCKS, "image_size": 8, "patch_size": 4, "num_labels": 3},
        2 * 6 + 1 + 1 + 1,
        {"convolution": 1, "other": 2},
        inputs=("pixel_values",),
        labels="class",
    ),
    "WhisperForConditionalGeneration": Family(
        {"d_model": 12, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
         "decoder_attention_heads": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "num_mel_bins": 8,
         "max_source_positions": 10, "max_target_positions": 16, **ENDS},
        2 * 6 + 2 * 10 + 2 + 1 + 1 + 1 + 1,
        {"convolution": 2, "embedding": 3},
        inputs=("input_features", "decoder_input_ids"),
        labels="token",
    ),
    # the convolution over positions has its weight from weight norm: a direction and a size
    "Wav2Vec2ForSequenceClassification": Family(
        {**BLOCKS, "conv_dim": (8, 8), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2,
         "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "num_labels": 3},
        2 + 1 + 1 + 2 * 6 + 2,
        {"convolution": 2, "parametrised original": 2, "other": 1},
        inputs=("input_values",),
        labels="class",
    ),
}  # fmt: skip


def batch(family: Family, seed: int = 0) -> dict[str, Tensor]:
    """Inputs by their names, and labels."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, WORDS, (COUNT, LENGTH), generator=random)
    shapes = {"pixel_values": (COUNT, 3, 8, 8), "input_features": (COUNT, 8, 20), "input_values": (COUNT, 80)}
    made = {
        name: torch.randn(shapes[name], generator=random) if name in shapes else ids.roll(k, 1)
        for k, name in enumerate(family.inputs)
    }
    labels = ids if family.labels == "token" else torch.arange(COUNT) % 3
    return made if family.labels == "next" else {**made, "labels": labels}


def loss_of(family: Family, model: Any, given: dict[str, Tensor]) -> Tensor:
    """The mean over examples of each example's cross-entropy."""
    inputs = {
        name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in given.items()
    }
    labels = inputs.pop("labels", None)
    logits = model(**inputs).logits
    if labels is None:
        logits, labels = logits[:, :-1], inputs["input_ids"][:, 1:]
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_against_a_loop(name: str, tmp_path: Path) -> None:
    family, kind = FAMILIES[name], getattr(transformers, name)
    torch.manual_seed(0)
    vocabulary = {} if "ViT" in name else {"vocab_size": WORDS}
    model = kind(
        kind.config_class(**vocabulary, **family.sizes, **({} if ENDS.keys() & family.sizes else ENDS))
    )
    with torch.no_grad():
        for parameter in model.parameters():  # a norm layer's scale of 1 and biases of 0 would hide mistakes
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval().save_pretrained(tmp_path / "model")
    given = batch(family)
    torch.save(given, tmp_path / "batch.pt")
    (tmp_path / "data.py").write_text(
        f"import torch\ndef data(): return torch.load({str(tmp_path / 'batch.pt')!r})\n"
    )
    source = Source(
        (str(tmp_path / "model"),),
        data=f"{tmp_path / 'data.py'}:data",
        loss="next-token" if family.labels == "next" else "cross-entropy",
    )
    etas = np.array([0.0, 1e-3, 1e-2])
    settings = SliceSettings(etas=etas, dtype="float64", limit=False, samples=2, spectra="none")
    found = measure(source, settings).isel(checkpoint=0)

    weights = found.isel(layer=found["is_weight"].values)
    assert int(weights["uses"].sum()) == family.uses
    kinds = dict(zip(*np.unique(found["kind"].values, return_counts=True), strict=True))
    special = {
        kind: count for kind, count in kinds.items() if kind not in ("linear", "bias", "normalisation")
    }
    assert special == family.kinds
    assert f"| `{name}` |" in PAGE.read_text("utf-8")

    twin = copy.deepcopy(model).double()
    twin.set_attn_implementation("eager")
    names = [n for n, p in twin.named_parameters() if n in found["layer"]]
    assert len(names) == len(list(twin.named_parameters()))
    start = {n: p.detach().clone() for n, p in twin.named_parameters()}

    def at() -> tuple[float, dict[str, Tensor]]:
        twin.zero_grad()
        value = loss_of(family, twin, given)
        value.backward()
        return value.item(), {n: p.grad.clone() for n, p in twin.named_parameters() if p.grad is not None}

    _, gradients = at()
    size = {n: float(g.norm()) for n, g in gradients.items()}
    for k, eta in enumerate(etas):
        with torch.no_grad():
            for n, parameter in twin.named_parameters():
                if size.get(n, 0) > 0:
                    parameter.copy_(start[n] - eta * start[n].norm() * gradients[n] / size[n])
        value, moved = at()
        assert float(found["loss"][k]) == pytest.approx(value, rel=1e-9)
        compared = 0
        for n in moved:
            if size[n] > 1e-9:  # a key's bias has no gradient but rounding
                change = float((moved[n] - gradients[n]).norm()) / size[n]
                got = float(found["gradient_change"].sel(layer=n)[k])
                assert got == pytest.approx(change, rel=1e-7, abs=1e-9), n
                compared += 1
        assert compared >= family.uses // 2


def test_gpt2_s_maps_are_stored_transposed(tmp_path: Path) -> None:
    family = FAMILIES["GPT2LMHeadModel"]
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=WORDS, **family.sizes, **ENDS))
    model.save_pretrained(tmp_path / "model")
    np.savez(tmp_path / "ids.npz", x=batch(family)["input_ids"].numpy(), y=np.zeros(COUNT))
    source = Source((str(tmp_path / "model"),), data=str(tmp_path / "ids.npz"), loss="next-token")
    settings = SliceSettings(etas=np.array([0.0, 1e-2]), dtype="float64", limit=False, samples=2)
    found = measure(source, settings).isel(checkpoint=0)
    for name, parameter in model.named_parameters():
        if re.search(r"(attn|mlp)\.c_\w+\.weight", name):
            layer = found.sel(layer=name)
            assert (layer["kind"], bool(layer["is_weight"]), layer["operator"]) == ("linear", True, "matrix")
            norm = float(torch.linalg.matrix_norm(parameter.double(), 2))
            assert float(layer["operator_norm"]) == pytest.approx(norm, rel=1e-9)
