"""Norms of layers as operators, against the matrices of what the modules do to every basis vector."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from probes.data.losses import resolve_loss
from probes.evaluation.evaluator import Evaluator
from probes.measures.operator_norms import Operator, find_operators, operator_norm
from probes.measures.operator_norms import matrices as operators

MATRIX = Operator("matrix")
# How far a bound may be above the norm in the cases below, none of which has more than 1,000 inputs.
FACTOR = {"zeros": 1.35, "circular": 1.75, "reflect": 2.8, "replicate": 2.8}


class _Only(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


def batch_of(network: nn.Module, x: Tensor) -> Evaluator:
    y = torch.zeros(len(x))
    return Evaluator(network, x, y, resolve_loss("mse", y)[1], dtype=torch.float64)


def operator_of(layer: nn.Module, size: tuple[int, ...]) -> Operator:
    x = torch.zeros(2, layer.in_channels, *size)
    return find_operators(batch_of(_Only(layer), x), ["layer.weight"])["layer.weight"]


def exact_norm(layer: nn.Module, size: tuple[int, ...]) -> float:
    """σ_max of the dense operator, by the singular values."""
    shape = (layer.in_channels, *size)
    count = math.prod(shape)
    with torch.no_grad():
        images = layer(torch.eye(count, dtype=torch.float64).view(count, *shape))
    return float(np.linalg.svd(images.flatten(1).numpy(), compute_uv=False)[0])


def layer_of(kind: type[nn.Module], *arguments: int, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return kind(*arguments, bias=False, dtype=torch.float64, **options)


def cases() -> list[Any]:
    one, two, three = nn.Conv1d, nn.Conv2d, nn.Conv3d
    found: list[tuple[type[nn.Module], tuple[int, ...], dict[str, Any], tuple[int, ...]]] = [
        (one, (1, 1, 3), {"padding": 1}, (40,)),
        (one, (2, 3, 4), {"padding": "same"}, (30,)),
        (one, (3, 2, 5), {"padding": "valid"}, (30,)),
        (one, (2, 2, 3), {"padding": 9}, (20,)),
        (one, (2, 2, 9), {"padding": 4}, (3,)),
        (one, (4, 4, 4), {"stride": 4}, (40,)),
        (one, (4, 6, 3), {"stride": 2, "padding": 1, "dilation": 3, "groups": 2}, (31,)),
        (two, (3, 8, 3), {"padding": 1}, (16, 16)),
        (two, (3, 4, 3), {"padding": "same", "dilation": 2}, (12, 15)),
        (two, (3, 4, (2, 4)), {"padding": "same"}, (12, 15)),
        (two, (4, 4, 3), {"stride": 2, "padding": 1}, (15, 16)),
        (two, (3, 6, 5), {"stride": (3, 2), "padding": (0, 2)}, (17, 18)),
        (two, (3, 6, 2), {"stride": 3}, (17, 18)),
        (two, (4, 4, 3), {"groups": 4, "padding": 1}, (12, 12)),
        (two, (6, 4, 1), {"stride": 2}, (12, 12)),
        (two, (2, 3, 7), {"padding": 3}, (3, 4)),
        (three, (2, 3, 3), {"padding": 1}, (6, 7, 8)),
        (three, (2, 4, 2), {"stride": 2, "groups": 2}, (6, 7, 8)),
    ]
    for mode in ("circular", "reflect", "replicate"):
        found += [
            (one, (2, 3, 3), {"padding": 1, "padding_mode": mode}, (20,)),
            (one, (2, 3, 4), {"padding": "same", "padding_mode": mode, "dilation": 2}, (19,)),
            (one, (1, 2, 3), {"padding": 4, "padding_mode": mode}, (5,)),
            (one, (2, 3, 4), {"padding": 3, "stride": 2, "padding_mode": mode}, (9,)),
            (two, (3, 4, 3), {"padding": 1, "padding_mode": mode}, (12, 12)),
            (two, (3, 4, 5), {"padding": 2, "stride": (2, 3), "padding_mode": mode}, (12, 14)),
            (three, (2, 2, 3), {"padding": 1, "padding_mode": mode}, (5, 6, 7)),
        ]
    one, two, three = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
    found += [
        (one, (2, 3, 3), {}, (20,)),
        (one, (4, 6, 4), {"stride": 2, "padding": 1, "groups": 2}, (15,)),
        (one, (2, 2, 3), {"stride": 3, "output_padding": 2, "padding": 1}, (11,)),
        (one, (2, 2, 3), {"stride": 5, "output_padding": 4}, (11,)),
        (one, (2, 2, 3), {"dilation": 4, "output_padding": 3, "padding": 3}, (11,)),
        (two, (3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}, (8, 9)),
        (two, (4, 2, 4), {"stride": (2, 3), "dilation": (1, 2)}, (6, 5)),
        (three, (2, 3, 2), {"stride": 2}, (4, 4, 5)),
    ]
    names = (f"{kind.__name__}-{i}" for i, (kind, *_) in enumerate(found))
    return [pytest.param(*case, id=name) for case, name in zip(found, names, strict=True)]


def test_the_cases_are_all_there() -> None:
    assert len(cases()) == 47


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("kind", "arguments", "options", "size"), cases())
def test_convolutions(
    monkeypatch: pytest.MonkeyPatch,
    kind: type[nn.Module],
    arguments: tuple[int, ...],
    options: dict[str, Any],
    size: tuple[int, ...],
) -> None:
    layer = layer_of(kind, *arguments, **options)
    operator = operator_of(layer, size)
    norm = exact_norm(layer, size)
    monkeypatch.setattr(operators, "LARGEST_DENSE", 10**6)
    assert operator_norm(layer.weight, operator) == pytest.approx(norm, rel=1e-11, abs=0)
    monkeypatch.setattr(operators, "LARGEST_DENSE", 0)
    bound = operator_norm(layer.weight, operator)
    longest = max(reach / n for reach, n in zip(reaches(layer), size, strict=True))
    assert bound >= norm * (1 - 1e-12)
    if longest < 0.5:  # a kernel nearly as large as its input is hardly a convolution
        assert bound <= norm * FACTOR[operator.padding_mode]
    monkeypatch.setattr(operators, "OVERESTIMATE_AXIS", 1.1)
    coarse = operator_norm(layer.weight, operator)
    assert norm * (1 - 1e-12) <= coarse <= bound * 1.1 ** len(size) * (1 + 1e-12)
    # A kernel of one sign has its peak at frequency zero; the norm is then near the sum of its entries.
    with torch.no_grad():
        layer.weight.abs_()
    assert operator_norm(layer.weight, operator) >= exact_norm(layer, size) * (1 - 1e-12)


def reaches(layer: Any) -> list[int]:
    return [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]


@pytest.mark.parametrize(
    ("kind", "options", "size"),
    [
        (nn.Conv1d, {"kernel_size": 3, "padding": 1}, (24,)),
        (nn.Conv1d, {"kernel_size": 4, "padding": "same"}, (25,)),
        (nn.Conv1d, {"kernel_size": 5, "padding": 2, "stride": 3}, (24,)),
        (nn.Conv2d, {"kernel_size": 3, "padding": 1}, (10, 12)),
        (nn.Conv2d, {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2}, (10, 12)),
        (nn.Conv2d, {"kernel_size": 3, "padding": 1, "stride": 2}, (10, 12)),
        (nn.Conv3d, {"kernel_size": 3, "padding": 1}, (4, 5, 6)),
    ],
)
def test_circular_convolutions_that_keep_the_size_are_exact(
    monkeypatch: pytest.MonkeyPatch, kind: type[nn.Module], options: dict[str, Any], size: tuple[int, ...]
) -> None:
    monkeypatch.setattr(operators, "LARGEST_DENSE", 0)
    for channels in ((4, 2), (2, 4)):
        layer = layer_of(kind, *channels, padding_mode="circular", **options)
        assert operator_norm(layer.weight, operator_of(layer, size)) == pytest.approx(
            exact_norm(layer, size), rel=1e-11, abs=0
        )


@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_patches_that_do_not_overlap_are_exact(monkeypatch: pytest.MonkeyPatch, kernel: int) -> None:
    monkeypatch.setattr(operators, "LARGEST_DENSE", 0)
    layer = layer_of(nn.Conv2d, 3, 5, kernel, stride=kernel)
    norm = float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2))
    assert operator_norm(layer.weight, operator_of(layer, (24, 24))) == pytest.approx(norm, rel=1e-11)


def test_taps_that_would_cancel_on_too_small_a_torus(monkeypatch: pytest.MonkeyPatch) -> None:
    """K = (1, 0, −1) by steps of 2 on three positions: no multiple of the stride below 4 will do."""
    monkeypatch.setattr(operators, "LARGEST_DENSE", 0)
    operator = Operator("convolution", (2,), ((0, 0),), (1,), input_size=(3,))
    weight = torch.tensor([[[1.0, 0.0, -1.0]]])
    assert math.sqrt(2) <= operator_norm(weight, operator) <= 2 * (1 + 1e-12)


def test_an_output_that_is_all_padding() -> None:
    layer = layer_of(nn.ConvTranspose1d, 1, 1, 1, dilation=3, padding=1, output_padding=2)
    assert operator_norm(layer.weight, operator_of(layer, (1,))) == exact_norm(layer, (1,)) == 0


def test_a_large_input_gives_nearly_the_norm() -> None:
    """Box kernel: Σ|K| bounds the norm, and is approached as (cos(π / (n + 1)) …)² on n × n inputs."""
    box = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)
    layer = layer_of(nn.Conv2d, 1, 1, 3, padding=1)
    operator = operator_of(layer, (200, 200))
    norm = ((1 + 2 * math.cos(math.pi / 201)) / 3) ** 2
    bound = operator_norm(box, operator)
    assert norm < bound <= 1.0101 * norm
    assert bound <= 1.005**2 * (1 + 1e-12)


def test_frequencies_are_pruned_without_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels with one peak and with none, by chunks of few and of all frequencies."""
    layer = layer_of(nn.Conv2d, 6, 8, 3, padding=1, padding_mode="circular")
    monkeypatch.setattr(operators, "LARGEST_DENSE", 0)
    operator = operator_of(layer, (9, 9))
    for weight in (layer.weight.detach(), layer.weight.detach().abs()):
        transformed = torch.fft.fft2(weight, s=(9, 9)).permute(2, 3, 0, 1)
        norm = float(torch.linalg.matrix_norm(transformed, 2).max())
        for size in (1, 5_000, 2**26):
            monkeypatch.setattr(operators, "CHUNK_BYTES", size)
            assert operator_norm(weight, operator) == pytest.approx(norm, rel=1e-11, abs=0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_bounds_are_never_underestimates(data: st.DataObject) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    transposed, groups, kernel, stride, dilation = (
        data.draw(st.booleans()), draw(1, 2), draw(1, 4), draw(1, 3), draw(1, 3),
    )  # fmt: skip
    size = draw(1, 14)
    mode = (
        "zeros" if transposed else data.draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"]))
    )
    most = {"zeros": 7, "circular": size, "reflect": size - 1, "replicate": 7}[mode]
    padding, reach = draw(0, most), dilation * (kernel - 1)
    extra = {"output_padding": draw(0, max(stride, dilation) - 1)} if transposed else {"padding_mode": mode}
    if transposed:
        full = (size - 1) * stride + reach + 1 + extra["output_padding"]
        padding = min(padding, (full - 1) // 2)
    elif size + 2 * padding < reach + 1:
        return
    layer = layer_of(
        nn.ConvTranspose1d if transposed else nn.Conv1d, groups * draw(1, 3), groups * draw(1, 3), kernel,
        stride=stride, dilation=dilation, groups=groups, padding=padding, seed=draw(0, 9), **extra,
    )  # fmt: skip
    if data.draw(st.booleans()):
        with torch.no_grad():
            layer.weight.abs_()
    operator, norm = operator_of(layer, (size,)), exact_norm(layer, (size,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "OVERESTIMATE_AXIS", data.draw(st.sampled_from([1.005, 1.2, 1.6])))
        for dense in (0, 512):
            patch.setattr(operators, "LARGEST_DENSE", dense)
            bound = operator_norm(layer.weight, operator)
            assert bound >= norm * (1 - 1e-12)
    assert bound <= norm * (1 + 1e-11)


def matrices() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    return {
        "one": torch.tensor([[-3.7]], dtype=torch.float64),
        "row": normal(1, 50),
        "column": normal(300, 1),
        "square": normal(120, 120),
        "wide": normal(30, 700),
        "tall": normal(700, 30),
        "rank deficient": normal(90, 3) @ normal(3, 110),
        "orthogonal": torch.linalg.qr(normal(100, 100)).Q,
        "positive": normal(80, 90).abs(),
        "ill scaled": normal(60, 60) * torch.logspace(0, -300, 60, dtype=torch.float64),
        "single": normal(40, 50).float(),
        "half": normal(40, 50).half(),
    }


@pytest.mark.parametrize("scale", [1.0, 1e200, 1e-200, 1e-300])
@pytest.mark.parametrize("name", matrices())
def test_matrices(name: str, scale: float) -> None:
    matrix = matrices()[name]
    if matrix.dtype == torch.float64:
        matrix = matrix * scale
    reference = np.linalg.svd(matrix.double().numpy(), compute_uv=False)[0]
    norm = operator_norm(matrix, MATRIX)
    assert reference * (1 - 1e-14 * math.sqrt(max(matrix.shape))) <= norm <= reference * (1 + 1e-11)


def hadamard(order: int) -> Tensor:
    found = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(order):
        found = torch.cat([torch.cat([found, found], 1), torch.cat([found, -found], 1)])
    return found


@pytest.mark.parametrize("order", [2, 4, 6, 8, 10])
def test_norms_that_are_known_are_never_underestimated(order: int) -> None:
    """H has entries ±1 and σ = √(its side), the worst case of ‖A‖_F / σ; ones have σ = √(m n)."""
    side = 2**order
    norm = operator_norm(hadamard(order), MATRIX)
    assert 2.0 ** (order / 2) <= norm <= 2.0 ** (order / 2) * (1 + 1e-11)
    ones = operator_norm(torch.ones(4 * side, side), MATRIX)
    assert 2.0 * side <= ones <= 2.0 * side * (1 + 1e-11)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31), st.integers(-900, 900))
def test_a_product_with_a_vector_is_never_longer(m: int, n: int, seed: int, exponent: int) -> None:
    random = torch.Generator().manual_seed(seed)
    matrix = torch.randn(m, n, generator=random, dtype=torch.float64) ** 3 * 2.0**exponent
    norm = operator_norm(matrix, MATRIX) * 2.0**-exponent
    _, _, right = torch.linalg.svd(matrix * 2.0**-exponent)
    image = matrix * 2.0**-exponent @ right[0]
    assert float(image.norm() / right[0].norm()) <= norm * (1 + 1e-15)


def test_scales_at_the_ends_of_the_range() -> None:
    assert operator_norm(torch.zeros(3, 4), MATRIX) == 0
    assert operator_norm(torch.zeros(0, 4), MATRIX) == 0
    tiny = operator_norm(torch.full((1, 1), 5e-324, dtype=torch.float64), MATRIX)
    assert 5e-324 <= tiny <= 1e-323
    assert operator_norm(torch.full((2, 2), 1.5e308, dtype=torch.float64), MATRIX) == math.inf
    assert operator_norm(torch.full((1, 1), 1.5e308, dtype=torch.float64), MATRIX) < math.inf


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_entries_that_are_not_finite_have_no_norm(bad: float) -> None:
    weight = torch.ones(3, 3)
    weight[1, 2] = bad
    assert math.isnan(operator_norm(weight, MATRIX))
    assert math.isnan(operator_norm(torch.ones(3, 3), Operator("unknown")))


def test_squaring_is_at_most_a_hundredth_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worst when all singular values are equal, where only the number of squarings helps."""
    monkeypatch.setattr(operators, "LARGEST_EXACT", 0)
    some = [*matrices().values(), *(hadamard(order) for order in range(10)), torch.eye(300)]
    some += [torch.diag(torch.linspace(low, 1, 200, dtype=torch.float64)) for low in (0.0, 0.9, 0.99)]
    for matrix, scale in itertools.product(some, (1.0, 1e-150)):
        scaled = matrix.double() * scale
        reference = np.linalg.svd(scaled.numpy(), compute_uv=False)[0]
        norm = operator_norm(scaled, MATRIX)
        assert reference * (1 - 1e-14 * math.sqrt(max(matrix.shape))) <= norm <= 1.01001 * reference


class _Network(nn.Module):
    """Everything of which some weight is known or is not."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding="same"), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
        )
        self.up = nn.ConvTranspose2d(6, 2, 3, stride=2, padding=1, output_padding=1)
        self.head = nn.Linear(2 * 8 * 8, 5)
        self.tokens = nn.Linear(2, 2)
        self.recurrent = nn.LSTM(5, 5)
        self.attention = nn.MultiheadAttention(5, 1)
        self.normal = nn.LayerNorm(5)
        self.spectral = parametrizations.spectral_norm(nn.Linear(5, 5))
        self.unused = nn.Conv1d(1, 1, 3)
        self.twice = nn.Conv1d(1, 1, 3)
        self.changed = _Doubled(5, 5)
        self.tied = nn.Linear(5, 5)
        self.tied_too = nn.Linear(5, 5)
        self.tied_too.weight = self.tied.weight
        self.embedding = nn.Embedding(5, 5)
        self.unembedding = nn.Linear(5, 5)
        self.unembedding.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.features(x))
        y = self.head(x.flatten(1)) + self.tokens(x.flatten(2).mT).sum()
        y = self.changed(self.normal(self.recurrent(y[None])[0]))
        y = self.spectral(self.attention(y, y, y)[0])[0]
        z = self.twice(self.twice(y[:, None]))[:, 0].sum(1, keepdim=True)
        return self.unembedding(self.tied_too(self.tied(y + z)))


class _Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_operators_are_found() -> None:
    torch.manual_seed(0)
    network = _Network()
    network.train()
    evaluator = batch_of(network, torch.randn(3, 1, 8, 8))
    found = find_operators(evaluator, list(evaluator.frozen))
    assert set(found) == set(evaluator.frozen)
    ones = (1, 1)
    assert found["features.0.weight"] == Operator(
        "convolution", ones, ((1, 1), (1, 1)), ones, 1, "zeros", (8, 8), 64
    )
    assert found["features.2.weight"] == Operator(
        "convolution", (2, 2), ((1, 1), (1, 1)), ones, 2, "zeros", (8, 8), 16
    )
    assert found["up.weight"] == Operator(
        "transposed convolution", (2, 2), ((1, 0), (1, 0)), ones, 1, "zeros", (4, 4), 64
    )
    assert found["head.weight"] == MATRIX
    assert found["tokens.weight"] == Operator("matrix", positions=64)
    assert found["tied.weight"] == MATRIX
    assert found["attention.out_proj.weight"] == MATRIX
    known = {name for name, operator in found.items() if operator.kind != "unknown"}
    assert known == {
        "features.0.weight",
        "features.2.weight",
        "up.weight",
        "head.weight",
        "tokens.weight",
        "tied.weight",
        "attention.out_proj.weight",
    }
    tied = find_operators(evaluator, ["unembedding.weight"])  # under its other name an embedding's
    assert tied["unembedding.weight"].kind == "unknown"
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_a_sequential_network() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 6 * 6, 4))
    evaluator = batch_of(network, torch.randn(2, 1, 8, 8))
    found = find_operators(evaluator, ["0.weight", "3.weight"])
    assert [operator.kind for operator in found.values()] == ["convolution", "matrix"]
    layer = layer_of(nn.Conv2d, 1, 3, 3)
    layer.weight = nn.Parameter(evaluator.frozen["0.weight"])
    norm = operator_norm(evaluator.frozen["0.weight"], found["0.weight"])
    assert norm == pytest.approx(exact_norm(layer, (8, 8)), rel=1e-11, abs=0)


@pytest.mark.parametrize(("rows", "columns"), [(256, 256), (300, 700), (700, 300), (784, 784)])
@pytest.mark.parametrize("gap", [0.5, 0.1])
def test_a_norm_that_stands_out_is_found_by_itself(rows: int, columns: int, gap: float) -> None:
    draw = torch.Generator().manual_seed(rows + columns)
    matrix = torch.randn(rows, columns, dtype=torch.float64, generator=draw)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values[0] = values[1] / (1 - gap)
    matrix = left * values @ right
    wide = matrix if rows <= columns else matrix.T
    scaled = (wide / 2.0 ** math.ceil(math.log2(float(wide.abs().max())))).contiguous()
    found = operators._separated_norm(scaled.numpy())
    top = float(torch.linalg.matrix_norm(scaled, 2))
    assert found is not None
    assert top * (1 - 1e-14) <= found <= top * (1 + 1e-11)
    assert operator_norm(matrix, MATRIX) == pytest.approx(
        float(torch.linalg.matrix_norm(matrix, 2)), rel=1e-11
    )


def test_a_norm_that_was_missed_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.full((300,), 0.1, dtype=torch.float64)
    values[0], values[1] = 1.0, 0.8
    second = np.zeros((300, 1))
    second[1] = 1.0  # an exact eigenvector, but not of the largest
    monkeypatch.setattr(operators, "eigsh", lambda *_, **__: (np.array([0.64]), second))
    assert operators._separated_norm(torch.diag(values).numpy()) is None
    assert operator_norm(torch.diag(values), MATRIX) == pytest.approx(1.0, rel=1e-11)


def test_norms_that_do_not_stand_out_are_left_to_all_eigenvalues() -> None:
    draw = torch.Generator().manual_seed(0)
    assert (
        operators._separated_norm(torch.rand(300, 300, dtype=torch.float64, generator=draw).sub(0.5).numpy())
        is None
    )
    assert operators._separated_norm(np.eye(300)) is None
