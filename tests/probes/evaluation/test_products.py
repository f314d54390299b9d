"""Products on the CPU: the faster route, but only where its error is float32's, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from probes import InputError, SliceSettings, measure_slice
from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.evaluation import products
from probes.evaluation.frozen_state import probing
from probes.evaluation.products import fastest_route, multiplying, shapes_of
from probes.slices import slice as slice_module

SHAPES = ((500, 300, 200), (500, 200, 200))


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What earlier tests measured, and what these pretend."""

    def forget() -> None:
        for one in (products._gain, products._excess):
            one.cache_clear()

    forget()
    yield
    forget()


def setting() -> tuple[Any, ...]:
    cpu = products._cpu_products()
    backends = torch.backends
    found = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    return (*found, None if cpu is None else cpu.fp32_precision)


@contextmanager
def told(precision: str) -> Iterator[None]:
    """PyTorch as its users set it, in a word."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _fail_inside(route: str) -> None:
    with multiplying(route):
        raise ZeroDivisionError


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("route", ["torch", "onednn"])
def test_torch_is_left_as_it_was_found(precision: str, route: str) -> None:
    with told(precision):
        before = setting()
        with multiplying(route):
            assert not torch.backends.cuda.matmul.allow_tf32
        assert setting() == before
        with pytest.raises(ZeroDivisionError):
            _fail_inside(route)
        assert setting() == before


def test_products_are_float32s_whatever_the_user_told_torch() -> None:
    """Who trained with "medium" on a processor with units for bfloat16 still measures in float32."""
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(200, 300, generator=generator), torch.randn(100, 300, generator=generator)
    exact = x.double() @ w.double().T
    with told("medium"), probing(nn.Linear(1, 1)):
        error = torch.linalg.vector_norm(x @ w.T - exact) / torch.linalg.vector_norm(exact)
    # sums of 300 products in float32 err by at most 300 · 2⁻²⁴ of Σ|x||w|, which is about √300 of the exact ones;
    # products rounded to bfloat16's 8 bits by at least 2⁻⁹ / √12 of them
    assert float(error) < 300 * 2**-24 * 300**0.5 < 2**-9 / 12**0.5


def test_the_faster_is_taken_and_ties_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_excess", lambda shapes: 1.5)
    for seconds, route in ((1.0, "torch"), (0.85, "torch"), (0.5, "onednn"), (3.0, "torch")):
        products._gain.cache_clear()
        monkeypatch.setattr(
            products, "_seconds", lambda name, _, own=seconds: own if name == "onednn" else 1.0
        )
        assert fastest_route("auto", SHAPES) == route


def test_a_coarser_one_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on processors with units for bfloat16: 10,000 times the error, however fast."""
    monkeypatch.setattr(products, "_excess", lambda shapes: 1e4)
    monkeypatch.setattr(products, "_seconds", lambda name, _: 0.01 if name == "onednn" else 1.0)
    assert fastest_route("auto", SHAPES) == "torch"
    with pytest.raises(InputError, match="bfloat16"):
        fastest_route("onednn", SHAPES)
    assert fastest_route("torch", SHAPES) == "torch"


def test_what_rounds_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plant: a product that rounds to bfloat16 where torch is told that it may."""
    real = torch.nn.functional.linear

    def coarse(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        cpu = products._cpu_products()
        rounds = cpu is not None and cpu.fp32_precision == "bf16"
        return real(x.bfloat16(), w.bfloat16()).float() if rounds else real(x, w)

    monkeypatch.setattr(torch.nn.functional, "linear", coarse)
    assert products._excess(SHAPES) > 1000


def test_a_torch_without_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_cpu_products", lambda: None)
    assert fastest_route("auto", SHAPES) == "torch"
    with multiplying("torch"):
        pass


def test_small_products_are_not_timed() -> None:
    """So that what small networks measure is the same whatever the machine is busy with."""
    small = dict(nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3)).named_parameters())
    assert shapes_of(small, 1000) == ()
    large = dict(nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)).named_parameters())
    assert shapes_of(large, 1000) == ((500, 784, 256), (500, 256, 10))
    assert fastest_route("auto", ()) == "torch"


def test_every_token_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 30 windows of 8 tokens, for the matrices of a transformer."""
    seen: list[object] = []
    monkeypatch.setattr(slice_module, "fastest_route", lambda asked, shapes: seen.append(shapes) or "torch")
    monkeypatch.setattr(products, "_WORTH_TIMING", 1.0)
    network = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    x = torch.randint(0, 5, (30, 8), generator=torch.Generator().manual_seed(0))
    slice_module.settled_route(SliceSettings(), network, Batches([Batch(x, None)]), 30)
    assert seen == [((240, 4, 5), (240, 4, 3))]


def test_a_slice_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, x, y = nn.Linear(8, 3), torch.randn(30, 8), torch.randint(0, 3, (30,))
    found = measure_slice(network, x, y, settings=SliceSettings(etas=[0, 0.1], matmul="torch"))
    assert found.attrs["matmul"] == "torch"
    seen = []
    monkeypatch.setattr(products, "_gain", lambda shapes, threads: seen.append(shapes) or 3.0)
    monkeypatch.setattr(products, "_WORTH_TIMING", 1.0)
    before = setting()
    found = measure_slice(network, x, y, settings=SliceSettings(etas=[0, 0.1]))
    assert (found.attrs["matmul"], seen, setting()) == ("onednn", [((30, 8, 3),)], before)
    double = measure_slice(network, x, y, settings=SliceSettings(etas=[0, 0.1], dtype="float64"))
    assert double.attrs["matmul"] == "torch"
