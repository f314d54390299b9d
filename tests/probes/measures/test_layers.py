"""Which parameter tensors networks of many kinds have, in which order, and what a slice does with each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import analysis
from probes import InputError
from probes.data.losses import LOSSES
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.frozen_state import probing
from probes.measures.layers import EXCLUDED, FIXED, FROZEN, PERTURBED, UNUSED, Layer, find_layers, treated
from tests.probes.measures.examples import CASES, ETAS, looped, measured, prepared
from tests.support.reference import make_data
from tests.support.traces import picture


def found_in(case: str | nn.Module, x: Tensor | None = None, y: Tensor | None = None) -> dict[str, Layer]:
    if isinstance(case, str):
        network, x, y = prepared(CASES[case])
    else:
        network = case
    assert x is not None
    assert y is not None
    with probing(network):
        evaluator = Evaluator(network, x, y, LOSSES["cross-entropy"], dtype=torch.float64)
        return {layer.name: layer for layer in find_layers(network, evaluator)}


def kinds(layers: dict[str, Layer]) -> dict[str, tuple[str, bool]]:
    return {name: (layer.kind, layer.is_weight) for name, layer in layers.items()}


def test_forward_order_and_kinds() -> None:
    assert kinds(found_in("transformer")) == {
        "tokens.weight": ("embedding", True),
        "positions": ("other", True),
        "encoder.self_attn.in_proj_weight": ("attention packed projection", True),
        "encoder.self_attn.in_proj_bias": ("bias", False),
        "encoder.self_attn.out_proj.weight": ("linear", True),
        "encoder.self_attn.out_proj.bias": ("bias", False),
        "encoder.norm1.weight": ("normalisation", False),
        "encoder.norm1.bias": ("normalisation", False),
        "encoder.linear1.weight": ("linear", True),
        "encoder.linear1.bias": ("bias", False),
        "encoder.linear2.weight": ("linear", True),
        "encoder.linear2.bias": ("bias", False),
        "encoder.norm2.weight": ("normalisation", False),
        "encoder.norm2.bias": ("normalisation", False),
        "head.weight": ("linear", True),
    }
    order = list(kinds(found_in("transformer")))
    assert order[:2] == ["tokens.weight", "positions"]
    assert order[-1] == "head.weight"
    assert order[2:-1] == [
        n for n, _ in prepared(CASES["transformer"])[0].named_parameters() if "encoder" in n
    ][:4] + [f"encoder.{n}" for n in ("norm1.weight", "norm1.bias")] + [
        f"encoder.linear{k}.{leaf}" for k in (1, 2) for leaf in ("weight", "bias")
    ] + ["encoder.norm2.weight", "encoder.norm2.bias"]
    first = list(found_in("transformer, norm first"))
    assert first.index("encoder.norm1.weight") < first.index("encoder.self_attn.in_proj_weight")
    residual = list(found_in("residual"))
    assert residual == [
        "z.weight",
        "z.bias",
        *(f"blocks.{k}.weight" for k in range(14)),
        "a.weight",
        "a.bias",
    ]
    assert list(found_in("convolution")) == [f"{k}.{leaf}" for k in (0, 1, 5) for leaf in ("weight", "bias")]
    lstm = found_in("recurrent")
    assert list(lstm)[:4] == ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0"]
    assert sum(layer.is_weight for layer in lstm.values()) == 5
    assert lstm["rnn.weight_hh_l1"].kind == "recurrent weight"


def test_tied_tensors_are_one() -> None:
    layers = found_in("tied")
    tied = layers["head.weight"]
    assert tied.aliases == ("tokens.weight",)
    assert next(iter(layers)) == "head.weight"  # it is met first as the embedding
    assert "embedding" in tied.note
    network, x, y = prepared(CASES["tied"])
    for glob in ("tokens.*", "head.*"):
        found = measured(network, x, y, perturb=(glob,))
        moves = [str(name) for name in found["layer"].values[(found["relative_perturbation"] > 0).any("eta")]]
        assert moves == ["head.weight"]


def test_originals_of_parametrised_weights() -> None:
    for name, direction, magnitude in (
        ("weight norm", "0.parametrizations.weight.original1", "0.parametrizations.weight.original0"),
        ("weight norm by hooks", "0.weight_v", "0.weight_g"),
        ("spectral norm", "0.parametrizations.weight.original", None),
        ("spectral norm by hooks", "0.weight_orig", None),
        ("orthogonal", "0.parametrizations.weight.original", None),
    ):
        layers = found_in(name)
        assert (layers[direction].kind, layers[direction].is_weight) == ("parametrised original", True), name
        assert layers[direction].owner_type == "Linear"
        assert layers[direction].owner == "0"
        assert sum(layer.is_weight for layer in layers.values()) == 3
        assert list(layers).index(direction) < list(layers).index("0.bias")
        if magnitude is not None:
            assert kinds(layers)[magnitude] == ("parametrised original", False)


def test_frozen_unused_and_excluded_stay() -> None:
    network, x, y = prepared(CASES["residual"])
    network.spare = nn.Linear(2, 2).double()
    network.z.weight.requires_grad_(False)
    found = measured(network, x, y, perturb=("z.*", "blocks.1*", "spare.*"), jacobian=1)
    treatment = dict(zip(found["layer"].values.tolist(), found["treatment"].values.tolist(), strict=True))
    assert treatment["z.weight"] == FROZEN
    assert treatment["z.bias"] == PERTURBED
    assert treatment["blocks.0.weight"] == EXCLUDED
    assert treatment["blocks.13.weight"] == PERTURBED
    assert treatment["spare.weight"] == UNUSED
    expected = looped(network, x, y, batchnorm="running", kept=lambda name: treatment[name] == PERTURBED)
    for i, (loss, gradients) in enumerate(expected):
        assert float(found["loss"][i]) == pytest.approx(loss, rel=1e-8)
        for name, g0 in expected[0][1].items():
            change = float((gradients[name] - g0).norm() / g0.norm())
            at = found.sel(layer=name)
            assert float(at["gradient_change"][i]) == pytest.approx(change, rel=1e-8, abs=1e-12), name
            r = ETAS[i] if treatment[name] == PERTURBED else 0.0
            assert float(at["relative_perturbation"][i]) == pytest.approx(r, rel=1e-8), name
    assert np.isnan(found["gradient_change"].sel(layer="z.weight")).all()
    assert (found["gradient_change"].sel(layer="spare.weight") == 0).all()
    assert bool(found["is_weight"].sel(layer="z.weight"))
    assert not bool(found["is_weight"].sel(layer="spare.weight"))
    assert not network.z.weight.requires_grad
    verdicts = {v.claim: v for v in analysis.judge(found.expand_dims("checkpoint"))}
    assert verdicts["euclidean-trust"].status.value != "not measured"  # the frozen tensor is no part of it


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"perturb": ("nothing*",)}, "perturb='nothing"),
        ({"perturb": ("*.bias",)}, "no weight matrix is perturbed"),
        ({"layers": "z.weight"}, "frozen parameters only"),
    ],
)
def test_choices_that_leave_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    network, x, y = prepared(CASES["residual"])
    network.z.weight.requires_grad_(False)
    with pytest.raises(InputError, match=message):
        measured(network, x, y, **settings)


def test_treatments() -> None:
    layers = list(found_in("perceptron").values())
    fixed = {layer.name: layer.treatment for layer in treated(layers, biases="fixed")}
    assert fixed["layers.0.weight"] == PERTURBED
    assert fixed["layers.0.bias"] == fixed["norms.0.weight"] == FIXED


class Routed(nn.Module):
    """Examples with a negative first number go through a layer of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.common, self.rare = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.common(x)
        chosen = x[:, 0] < 0
        if chosen.any():
            out = torch.where(chosen[:, None], self.rare(x), out)
        return out


def test_what_a_few_examples_miss_the_whole_data_finds() -> None:
    x, y = make_data(9)
    x[:, 0] = x[:, 0].abs()
    x[7, 0] = -1
    assert found_in(Routed(), x, y)["rare.weight"].used is False
    found = measured(Routed(), x, y)
    assert (found["treatment"] == PERTURBED).all()


def test_the_walk_leaves_no_trace() -> None:
    for name in ("recurrent", "spectral norm by hooks", "tied"):
        network, x, y = prepared(CASES[name])
        before, outputs = picture(network), network.eval()(x)
        network.train()
        found_in(network, x, y)
        assert picture(network) == before
        torch.testing.assert_close(network.eval()(x), outputs, rtol=0, atol=0)
