"""Modules of every kind against a plain loop, and what is said of their parameters."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations

import analysis
from probes import InputError, SliceSettings, measure_slice
from probes.data.losses import LOSSES
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.frozen_state import probing
from probes.measures.layers import EXCLUDED, FIXED, FROZEN, PERTURBED, UNUSED, Layer, find_layers, treated
from tests.guarantees.test_leaves_no_trace import picture
from tests.support.reference import make, make_data

ETAS = np.array([0.0, 1e-3, 0.05])
TOKENS = 11


class Residual(nn.Module):
    """16 layers, whose names are not in the order of the alphabet."""

    def __init__(self) -> None:
        super().__init__()
        self.z = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(14))
        self.a = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.z(x)
        for block in self.blocks:
            h = h + 0.3 * torch.tanh(block(h))
        return self.a(h)


class Transformer(nn.Module):
    """Tokens, a table of positions, one encoder layer, a head."""

    def __init__(self, norm_first: bool = False, tied: bool = False) -> None:
        super().__init__()
        self.head = nn.Linear(8, TOKENS, bias=False)
        self.encoder = nn.TransformerEncoderLayer(
            8, 2, 12, dropout=0.1, batch_first=True, norm_first=norm_first
        )
        self.positions = nn.Parameter(torch.randn(4, 8) / 3)
        self.tokens = nn.Embedding(TOKENS, 8)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.tokens(x) + self.positions)[:, -1])


class Recurrent(nn.Module):
    """Two recurrent layers and a head; time comes first inside if wanted."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 6, num_layers=2, batch_first=batch_first)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.rnn.batch_first:
            return self.head(self.rnn(x)[0][:, -1])
        return self.head(self.rnn(x.transpose(0, 1))[0])[-1]


class Attention(nn.Module):
    """Packed self-attention alone."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def convolutions() -> nn.Module:
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(27, 3)
    )
    with torch.no_grad():
        network[1].running_mean.uniform_(-0.5, 0.5)
        network[1].running_var.uniform_(0.5, 1.5)
        network[1].weight.uniform_(0.5, 1.5)
    return network


def parametrised(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(
            wrap(nn.Linear(6, 8)), nn.Tanh(), wrap(nn.Linear(8, 8)), nn.Tanh(), nn.Linear(8, 3)
        )


def numbers(*shape: int) -> Tensor:
    return torch.randn(9, *shape)


def tokens() -> Tensor:
    return torch.randint(0, TOKENS, (9, 4))


@dataclass(frozen=True)
class Case:
    """A network, its inputs, and the number of classes."""

    make: Callable[[], nn.Module]
    x: Callable[[], Tensor]
    classes: int = 3
    batchnorm: str = "running"


CASES = {
    "perceptron": Case(lambda: make((6, 8, 3), "tanh", norm="layer"), lambda: numbers(6)),
    "convolution": Case(convolutions, lambda: numbers(1, 5, 5)),
    "convolution, batch statistics": Case(convolutions, lambda: numbers(1, 5, 5), batchnorm="batch"),
    "residual": Case(Residual, lambda: numbers(6)),
    "transformer": Case(Transformer, tokens, TOKENS),
    "transformer, norm first": Case(lambda: Transformer(norm_first=True), tokens, TOKENS),
    "tied": Case(lambda: Transformer(tied=True), tokens, TOKENS),
    "recurrent": Case(Recurrent, lambda: numbers(4, 5)),
    "recurrent, time first": Case(lambda: Recurrent(batch_first=False), lambda: numbers(4, 5)),
    "attention": Case(Attention, lambda: numbers(4, 8)),
    "weight norm": Case(lambda: parametrised(parametrizations.weight_norm), lambda: numbers(6)),
    "spectral norm": Case(lambda: parametrised(parametrizations.spectral_norm), lambda: numbers(6)),
    "orthogonal": Case(lambda: parametrised(parametrizations.orthogonal), lambda: numbers(6)),
    "weight norm by hooks": Case(lambda: parametrised(nn.utils.weight_norm), lambda: numbers(6)),
    "spectral norm by hooks": Case(lambda: parametrised(nn.utils.spectral_norm), lambda: numbers(6)),
}


JUDGED = {"tied", "convolution, batch statistics"}
"""Analysing every case would take longer than measuring them; these lack most."""


def prepared(case: Case) -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, x = case.make().double(), case.x()
        with torch.no_grad():
            for parameter in network.parameters():  # biases that start at zero would not move
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        y = torch.randint(0, case.classes, (len(x),))
    return network.train(), x.double() if x.is_floating_point() else x, y


def measured(network: nn.Module, x: Tensor, y: Tensor, **settings: Any) -> xr.Dataset:
    settings = {"etas": ETAS, "dtype": "float64", "limit": False, **settings}
    return measure_slice(network, x, y, settings=SliceSettings(**settings)).isel(checkpoint=0)


def attributes(network: nn.Module) -> list[Any]:
    """Tensors that modules hold beside their parameters and buffers."""
    values = [value for module in network.modules() for value in vars(module).values()]
    lists = [item for value in values if isinstance(value, list) for item in value]
    return [value for value in [*values, *lists] if isinstance(value, Tensor)]


def looped(
    network: nn.Module, x: Tensor, y: Tensor, *, batchnorm: str, kept: Callable[[str], bool] = lambda _: True
) -> list[tuple[float, dict[str, Tensor]]]:
    """Loss and gradients at every η: a copy, its parameters set by hand, one backward pass."""
    twin = copy.deepcopy(network).eval()
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d) and batchnorm == "batch":
            module.train()

    def at(values: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        with torch.no_grad():
            for name, parameter in twin.named_parameters():
                parameter.copy_(values[name])
        twin.zero_grad()
        loss = nn.functional.cross_entropy(twin(x), y)
        loss.backward()
        found = {name: p.grad.clone() for name, p in twin.named_parameters() if p.grad is not None}
        return loss.item(), found

    frozen = {name: parameter.detach().clone() for name, parameter in twin.named_parameters()}
    gradients = at(frozen)[1]
    results = []
    for eta in ETAS:
        moved = dict(frozen)
        for name, g in gradients.items():
            if kept(name) and g.norm() > 0:
                moved[name] = frozen[name] - eta * frozen[name].norm() * g / g.norm()
        results.append(at(moved))
    return results


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_a_plain_loop(name: str) -> None:
    case = CASES[name]
    network, x, y = prepared(case)
    with torch.no_grad():
        outputs = network.eval()(x)
    network.train()
    before, plain = picture(network), attributes(network)
    found = measured(network, x, y, batchnorm=case.batchnorm, jacobian=0 if case.batchnorm == "batch" else 2)
    expected = looped(network, x, y, batchnorm=case.batchnorm)
    base = expected[0][1]
    assert set(found["layer"].values) == set(base)
    assert (found["treatment"] == PERTURBED).all()
    for i, (loss, gradients) in enumerate(expected):
        assert float(found["loss"][i]) == pytest.approx(loss, rel=1e-8), i
        for layer, g0 in base.items():
            # a key's bias does not matter to softmax: its gradient is rounding
            if g0.norm() < 1e-12:
                continue
            g = gradients[layer]
            at = found.sel(layer=layer)
            change = float((g - g0).norm() / g0.norm())
            assert float(at["gradient_change"][i]) == pytest.approx(change, rel=1e-8, abs=1e-12), layer
            assert float(at["gradient_norm"][i]) == pytest.approx(float(g.norm()), rel=1e-8), layer
            assert float(at["relative_perturbation"][i]) == pytest.approx(ETAS[i], rel=1e-8), layer
    assert picture(network) == before  # power iterations and running statistics stand still
    assert all(a is b for a, b in zip(attributes(network), plain, strict=True))
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), outputs, rtol=0, atol=0)
    assert found.attrs["batchnorm"] == f"{case.batchnorm} statistics"
    slope = found["slope"].values
    assert float(found["slope_at_zero"]) == pytest.approx(slope[0], rel=1e-9)
    if name in JUDGED:
        assert {verdict.claim for verdict in analysis.judge(found.expand_dims("checkpoint"))} >= {"lemma1"}


@pytest.mark.parametrize("name", CASES)
def test_the_curvature_is_the_slope_s_derivative(name: str) -> None:
    case = CASES[name]
    network, x, y = prepared(case)
    h = 1e-4
    found = measured(
        network, x, y, etas=np.array([0.0, h, 2 * h]), batchnorm=case.batchnorm, ladder=False, spectra="none"
    )
    slope = found["slope"].values
    second = (-3 * slope[0] + 4 * slope[1] - slope[2]) / (2 * h)
    # the one-sided difference errs by h² times a fourth derivative; relu's kinks may fall in between
    assert float(found["curvature"]) == pytest.approx(second, rel=1e-2)


class OnceOnly(nn.Module):
    """A step whose second derivative PyTorch lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(torch.tanh(self.one(x)), self.two.weight, p=1.5) + self.two.bias


class Once(torch.autograd.Function):
    """A sine whose derivative is no function of its input, as far as autograd knows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0].cos()


class MarkedOnce(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(Once.apply(self.one(x)))


@pytest.mark.parametrize("network", [OnceOnly, MarkedOnce])
def test_a_curvature_that_cannot_be_computed_is_not_a_number(network: Callable[[], nn.Module]) -> None:
    found = measured(network(), *make_data(9), limit=True)
    assert np.isnan(found["curvature"])
    assert np.isnan(found["linearisation_error"]).all()
    assert np.isfinite(found["loss"]).all()
    assert float(found["step_limit"]) > 0 or np.isnan(found["step_limit"])


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
        ({"perturb": ("nothing*",)}, "--perturb nothing"),
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


def test_jacobians_where_a_layer_has_an_input() -> None:
    network, x, y = prepared(CASES["transformer"])
    found = measured(network, x, y, jacobian=1)
    change = found["jacobian_change"].isel(eta=-1, example=0)
    missing = {str(name) for name in change["layer"].values[np.isnan(change.values)]}
    weights = {str(name) for name in found["layer"].values[found["is_weight"].values]}
    # tokens are no numbers, the table's owner takes tokens too, and attention calls out_proj's weight itself
    assert missing & weights == {"tokens.weight", "positions", "encoder.self_attn.out_proj.weight"}

    frozen = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    gradients = looped(network, x, y, batchnorm="running")[0][1]
    jacobians = []
    for eta in (0.0, ETAS[-1]):
        twin = copy.deepcopy(network).eval()
        for name, parameter in twin.named_parameters():
            g = gradients[name]
            parameter.data = frozen[name] - eta * frozen[name].norm() * g / g.norm()
        with torch.no_grad():
            h = twin.tokens(x[:1]) + twin.positions

        def tail(h: Tensor, twin: Any = twin) -> Tensor:
            return twin.head(twin.encoder(h)[:, -1])

        with sdpa_kernel(SDPBackend.MATH):
            jacobians.append(torch.autograd.functional.jacobian(tail, h))
    expected = float((jacobians[1] - jacobians[0]).norm() / jacobians[0].norm())
    value = float(change.sel(layer="encoder.self_attn.in_proj_weight"))
    assert value == pytest.approx(expected, rel=1e-7)


def test_inputs_that_do_not_have_a_row_an_example() -> None:
    network, x, y = prepared(CASES["recurrent, time first"])
    # as many time steps as examples, neither, and as many as outputs of the one example whose Jacobian is wanted
    for count, steps in ((4, 4), (9, 4), (9, 3)):
        found = measured(network, x[:count, :steps], y[:count], jacobian=1)
        assert np.isnan(found["jacobian_change"]).all()
        assert np.isnan(found["perturbation_response"].sel(layer="head.weight")[1:]).all()


def test_batch_statistics_are_those_of_everything_at_once() -> None:
    network, x, y = prepared(CASES["convolution"])
    with pytest.raises(InputError, match="--chunk 9"):
        measured(network, x, y, batchnorm="batch", chunk=5)
    with pytest.raises(InputError, match="--jacobian"):
        measured(network, x, y, batchnorm="batch", jacobian=1)
    with pytest.raises(InputError, match="adversarial"):
        measured(network, x, y, batchnorm="batch", direction="adversarial")
    with pytest.raises(InputError, match="--batchnorm"):
        SliceSettings(etas=ETAS, batchnorm="both")
    x, y = x.repeat(5, 1, 1, 1) + torch.linspace(0, 1, 45).view(-1, 1, 1, 1), y.repeat(5)
    found = measured(network, x, y, batchnorm="batch")  # more than the noise floor would take at once
    assert "operator_norm" not in found  # the ladder's bounds are for one example at a time
    floors = found["noise_floor"].where(found["gradient_norm"][0] > 1e-12)  # below is rounding alone
    assert 1 <= int(floors.isnull().sum()) < 3
    assert float(floors.max()) < 1e-10


class DropPath(nn.Module):
    """A layer of the user's own that draws whether in training or not."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand(len(x), 1) > 0.3)


def test_a_random_layer_of_the_user_s_own_is_refused_with_the_reason() -> None:
    network = nn.Sequential(nn.Linear(6, 5), DropPath(), nn.Linear(5, 3))
    before = picture(network)
    with pytest.raises(
        InputError, match=r"two evaluations .* differ by .* stochastic; switch its randomness off"
    ):
        measured(network, *make_data())
    assert picture(network) == before
