"""What the machine needs for a slice's matrix products alone: no measurement of a perceptron can be faster.

Counted for a slice of E values of η by backpropagation. Nothing else counts: no activations, no norms, no steps,
and no noise floor. The first layer is affine in η, so that its forward products at all η are sums of two. Its
input's gradient is not needed. The gradient at η = 0 is always that of every layer, because it is the direction.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import ratios, spread

__all__ = ["Pieces", "Products", "counted", "roofline"]

SHARE_TARGET = 0.85
"""How much of the rate ours should reach."""
_ENOUGH = 1e11
"""Floating-point operations that are timed at once: shorter pieces are repeated."""
_MOST = 20
"""But not more often than this."""


def counted(run: Callable[[], Any]) -> tuple[Any, int]:
    """What ``run`` returns, and the floating-point operations of its matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        result = run()
    return result, counter.get_total_flops()


class Products:
    """A perceptron's matrix products with nothing between them, into memory that is there already."""

    def __init__(self, widths: Sequence[int], rows: int, chunk: int) -> None:
        """Allocate everything.

        Args:
            widths: d_0, …, d_L.
            rows: examples.
            chunk: of these at once.
        """
        self.sizes = [min(chunk, rows - start) for start in range(0, rows, chunk)]
        most = max(self.sizes)
        generator = torch.Generator().manual_seed(0)
        # entries of variance 1/d keep the numbers in range through any depth
        self.weights = [torch.randn(b, a, generator=generator) * a**-0.5 for a, b in pairwise(widths)]
        self.hidden = [torch.randn(most, width, generator=generator) for width in widths]
        self.deltas = [torch.randn(most, width, generator=generator) for width in widths]
        self.gradients = [torch.empty_like(weight) for weight in self.weights]

    def first_forward(self) -> None:
        """W_1 h_0."""
        for size in self.sizes:
            self._forward(0, size)

    def evaluation(self, *, first_only: bool = False) -> None:
        """At one η: W_k h_{k−1} and W_kᵀ δ_k of all layers but the first, δ_k h_{k−1}ᵀ of all or the first alone."""
        last = len(self.weights) - 1
        for size in self.sizes:
            for k in range(1, last + 1):
                self._forward(k, size)
            for k in range(last, -1, -1):
                delta = self.deltas[k + 1][:size]
                if k == 0 or not first_only:
                    torch.mm(delta.t(), self.hidden[k][:size], out=self.gradients[k])
                if k > 0:
                    torch.mm(delta, self.weights[k], out=self.deltas[k][:size])

    def _forward(self, k: int, size: int) -> None:
        torch.mm(self.hidden[k][:size], self.weights[k].t(), out=self.hidden[k + 1][:size])


@dataclass(frozen=True)
class _Piece:
    """Products that are timed together, so often that it takes a while."""

    run: Callable[[], None]
    flops: int
    times: int

    @classmethod
    def of(cls, run: Callable[[], None]) -> _Piece:
        flops = counted(run)[1]
        return cls(run, flops, min(max(round(_ENOUGH / flops), 1), _MOST))

    def __call__(self) -> None:
        for _ in range(self.times):
            self.run()

    def seconds(self, times: Sequence[float]) -> list[float]:
        return [one / self.times for one in times]


class Pieces:
    """The pieces that slices are made of, at one chunk size."""

    def __init__(self, widths: Sequence[int], rows: int, chunk: int) -> None:
        """Allocate, and run each once."""
        products = Products(widths, rows, chunk)
        self.chunk = chunk
        self.pieces = {
            "all layers": _Piece.of(products.evaluation),
            "first layer": _Piece.of(lambda: products.evaluation(first_only=True)),
            "first forward": _Piece.of(products.first_forward),
        }

    def alternatives(self) -> dict[str, Callable[[], None]]:
        """To be timed in turn with the others."""
        return {self._key(name): piece for name, piece in self.pieces.items()}

    def _key(self, name: str) -> str:
        return f"products of {name}, {self.chunk} rows"

    def _turns(self, seconds: Mapping[str, Sequence[float]], weights: Mapping[str, int]) -> list[float]:
        """The seconds of so many of each piece, turn by turn."""
        own = {name: self.pieces[name].seconds(seconds[self._key(name)]) for name in weights}
        turns = len(next(iter(own.values())))
        return [sum(count * own[name][turn] for name, count in weights.items()) for turn in range(turns)]

    def least(self, seconds: Mapping[str, Sequence[float]], etas: int) -> dict[str, list[float]]:
        """The seconds of the products of a slice, of all layers and of the first alone, turn by turn."""
        return {
            "all layers": self._turns(seconds, {"all layers": etas, "first forward": 2}),
            "first layer": self._turns(
                seconds, {"all layers": 1, "first layer": etas - 1, "first forward": 2}
            ),
        }

    def flops(self, etas: int) -> dict[str, int]:
        """Floating-point operations of the same."""
        every, first, forward = (piece.flops for piece in self.pieces.values())
        return {
            "all layers": etas * every + 2 * forward,
            "first layer": every + (etas - 1) * first + 2 * forward,
        }

    def rates(self, seconds: Mapping[str, Sequence[float]]) -> list[float]:
        """Floating-point operations a second over an evaluation of all layers, turn by turn."""
        flops = self.pieces["all layers"].flops
        return [flops / one for one in self._turns(seconds, {"all layers": 1})]


def roofline(
    layouts: Sequence[Pieces],
    seconds: Mapping[str, Sequence[float]],
    *,
    etas: int,
    slices: Mapping[str, str],
    peers: Mapping[str, str],
    flops: Mapping[str, int],
) -> dict[str, Any]:
    """The bounds, from the chunk size at which the machine is fastest.

    Args:
        layouts: pieces at several chunk sizes.
        seconds: all times, of theirs and of the alternatives.
        etas: E.
        slices: alternatives of ours to what they measure, ``all layers`` or ``first layer``.
        peers: the same alternatives to the peer whose time is the unit.
        flops: what the alternatives compute, in floating-point operations.

    Returns:
        For the JSON: ``chunk`` and ``rate`` (operations a second), ``bounds`` (for each alternative the smallest
        possible ratio to its peer, and the operations), ``share`` (for each alternative how much of the rate
        it reaches with the operations that it does) and ``share_target``.
    """
    best = max(layouts, key=lambda pieces: statistics.median(pieces.rates(seconds)))
    rates, least, needed = best.rates(seconds), best.least(seconds, etas), best.flops(etas)
    bounds = {
        name: {
            "to": peers[name],
            "flops": needed[kind],
            "seconds": least[kind],
            **spread(ratios(least[kind], seconds[peers[name]])),
        }
        for name, kind in slices.items()
    }
    share = {
        name: spread([count / one / rate for one, rate in zip(seconds[name], rates, strict=True)])
        for name, count in flops.items()
    }
    return {
        "chunk": best.chunk,
        "rate": spread(rates),
        "bounds": bounds,
        "share": share,
        "share_target": SHARE_TARGET,
    }
