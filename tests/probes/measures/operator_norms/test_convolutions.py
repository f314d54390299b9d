"""Norms of convolutions, against the matrices of what the modules do to every basis vector."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from probes.measures.operator_norms import Operator, find_operators, operator_norm
from probes.measures.operator_norms import convolutions as module
from tests.probes.measures.operator_norms.examples import Only, batch_of, exact_norm, layer_of

# How far a bound may be above the norm in the cases below, none of which has more than 1,000 inputs.
FACTOR = {"zeros": 1.35, "circular": 1.75, "reflect": 2.8, "replicate": 2.8}


def operator_of(layer: nn.Module, size: tuple[int, ...]) -> Operator:
    x = torch.zeros(2, layer.in_channels, *size)
    return find_operators(batch_of(Only(layer), x), ["layer.weight"])["layer.weight"]


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
    monkeypatch.setattr(module, "LARGEST_DENSE", 10**6)
    assert operator_norm(layer.weight, operator) == pytest.approx(norm, rel=1e-11, abs=0)
    monkeypatch.setattr(module, "LARGEST_DENSE", 0)
    bound = operator_norm(layer.weight, operator)
    longest = max(reach / n for reach, n in zip(reaches(layer), size, strict=True))
    assert bound >= norm * (1 - 1e-12)
    if longest < 0.5:  # a kernel nearly as large as its input is hardly a convolution
        assert bound <= norm * FACTOR[operator.padding_mode]
    monkeypatch.setattr(module, "OVERESTIMATE_AXIS", 1.1)
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
    monkeypatch.setattr(module, "LARGEST_DENSE", 0)
    for channels in ((4, 2), (2, 4)):
        layer = layer_of(kind, *channels, padding_mode="circular", **options)
        assert operator_norm(layer.weight, operator_of(layer, size)) == pytest.approx(
            exact_norm(layer, size), rel=1e-11, abs=0
        )


@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_patches_that_do_not_overlap_are_exact(monkeypatch: pytest.MonkeyPatch, kernel: int) -> None:
    monkeypatch.setattr(module, "LARGEST_DENSE", 0)
    layer = layer_of(nn.Conv2d, 3, 5, kernel, stride=kernel)
    norm = float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2))
    assert operator_norm(layer.weight, operator_of(layer, (24, 24))) == pytest.approx(norm, rel=1e-11)


def test_taps_that_would_cancel_on_too_small_a_torus(monkeypatch: pytest.MonkeyPatch) -> None:
    """K = (1, 0, −1) by steps of 2 on three positions: no multiple of the stride below 4 will do."""
    monkeypatch.setattr(module, "LARGEST_DENSE", 0)
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
    monkeypatch.setattr(module, "LARGEST_DENSE", 0)
    operator = operator_of(layer, (9, 9))
    for weight in (layer.weight.detach(), layer.weight.detach().abs()):
        transformed = torch.fft.fft2(weight, s=(9, 9)).permute(2, 3, 0, 1)
        norm = float(torch.linalg.matrix_norm(transformed, 2).max())
        for size in (1, 5_000, 2**26):
            monkeypatch.setattr(module, "CHUNK_BYTES", size)
            assert operator_norm(weight, operator) == pytest.approx(norm, rel=1e-11, abs=0)


@settings(max_examples=60)
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
        patch.setattr(module, "OVERESTIMATE_AXIS", data.draw(st.sampled_from([1.005, 1.2, 1.6])))
        for dense in (0, 512):
            patch.setattr(module, "LARGEST_DENSE", dense)
            bound = operator_norm(layer.weight, operator)
            assert bound >= norm * (1 - 1e-12)
    assert bound <= norm * (1 + 1e-11)
