"""The slice against a textbook loop over the same η, and against the matrix products that both must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.cases import Case, char_transformer, conv_net, cross_entropy, images, perceptron
from benchmarks.machine import target
from benchmarks.roofline import Pieces, counted, roofline
from benchmarks.sameness import same
from benchmarks.textbook import TextbookSlice, first_layer_loop, full_loop
from benchmarks.timing import Pair, measured
from probes.measures.settings import SliceSettings
from probes.networks.perceptron import Perceptron
from probes.slices.slice import measure_slice

__all__ = ["compare", "slices"]

_OURS, _LOOP = "probes", "textbook loop"
_OURS_ALONE = "probes, loss and breakdown alone"
_OURS_WHOLE = "probes, all that a run measures by default"
_OURS_FIRST, _LOOP_FIRST = "probes, first layer", "textbook loop, first layer"
_TOLERANCE = 1e-3
"""In float32 a ReLU's argument near 0 falls on either side, and with it an entry of the gradient."""
_WHOLE_TARGETS = dict.fromkeys((2, 16), target(intel=2.0, amd=1.3))
_TARGETS = {2: target(intel=0.75, amd=0.45), 3: target(intel=0.6, amd=0.4), 16: target(intel=1.05, amd=0.55)}
_ALONE_TARGETS = {2: target(intel=0.65, amd=0.4), 16: target(intel=1.0, amd=0.5)}
_OTHERS_TARGET = 1.05


def slices(repeats: int) -> list[dict[str, Any]]:
    """Breakdown of every layer, loss, output change, cosines, norms and noise floor (21 η), against a textbook loop.

    A small network, in which calls take as long as products, is measured at 100 η.
    """
    x, y = images()
    small = perceptron(3, x[:1000], y[:1000], width=64, points=100)
    cases = [perceptron(2, x, y), perceptron(16, x, y), small, conv_net(x, y), char_transformer(100)]
    return [compare(case, repeats) for case in cases]


def compare(case: Case, repeats: int) -> dict[str, Any]:
    """Check that both sides measure the same, and time them in turn; for perceptrons the first layer alone too.

    Raises:
        DifferentNumbersError: they do not.
    """
    etas = case.etas.tolist()
    ours: dict[str, Callable[[], xr.Dataset]] = {
        _OURS: lambda: measure_slice(case.network, case.x, case.y, settings=case.core())
    }
    loops: dict[str, Callable[[], TextbookSlice]] = {
        _LOOP: lambda: full_loop(case.network, case.x, case.y, etas, cross_entropy)
    }
    depth = case.network.spec.depth if isinstance(case.network, Perceptron) else None
    pairs = [Pair(_OURS, _LOOP, _OTHERS_TARGET if depth is None else _TARGETS.get(depth))]
    if depth is not None:
        ours[_OURS_FIRST] = lambda: measure_slice(
            case.network, case.x, case.y, settings=case.core(layers="first")
        )
        loops[_LOOP_FIRST] = lambda: first_layer_loop(case.network, case.x, case.y, etas, cross_entropy)
        pairs.append(Pair(_OURS_FIRST, _LOOP_FIRST))
    agreed, flops, all_pairs = [], {}, list(pairs)
    for pair in pairs:
        found, flops[pair.of] = counted(ours[pair.of])
        expected, flops[pair.to] = counted(loops[pair.to])
        agreed += _agreed(case, found, expected, pair)
    if depth is not None:  # whose operations are not counted: the counter cannot differentiate twice
        whole = SliceSettings(etas=case.etas, chunk=case.chunk)
        alone = case.core(measure=("breakdown",), samples=1)
        ours[_OURS_ALONE] = lambda: measure_slice(case.network, case.x, case.y, settings=alone)
        all_pairs.append(Pair(_OURS_ALONE, _LOOP, _ALONE_TARGETS.get(depth)))
        ours[_OURS_WHOLE] = lambda: measure_slice(case.network, case.x, case.y, settings=whole)
        all_pairs.append(Pair(_OURS_WHOLE, _LOOP, _WHOLE_TARGETS.get(depth)))
    alternatives: dict[str, Callable[[], object]] = {**loops, **ours}
    layouts = _layouts(case)
    for pieces in layouts:
        alternatives |= pieces.alternatives()
    timed = measured(alternatives, all_pairs, repeats=repeats)
    result = case.facts() | {"same": agreed, "flops": flops} | timed
    if layouts:
        result["roofline"] = roofline(
            layouts,
            timed["seconds"],
            etas=len(etas),
            slices={_OURS: "all layers", _OURS_FIRST: "first layer"},
            peers={pair.of: pair.to for pair in pairs},
            flops=flops,
        )
        shown = dict.fromkeys(name for pair in all_pairs for name in (pair.to, pair.of))
        result["seconds"] = {name: timed["seconds"][name] for name in shown}
    return result


def _agreed(case: Case, found: xr.Dataset, expected: TextbookSlice, pair: Pair) -> list[dict[str, Any]]:
    """How far apart the two sides' breakdowns and losses are."""
    names = [name for name, _ in case.network.named_parameters()][: expected.change.shape[1]]
    change = found["gradient_change"].isel(checkpoint=0).sel(layer=names).values
    loss = found["loss"].isel(checkpoint=0).values
    # at η = 0 ours is a repetition's rounding error, the loop's 0 is by definition
    rows = np.flatnonzero(case.etas > 0)
    return [
        same(
            f"{pair.of}: relative gradient difference",
            change[rows],
            expected.change[rows],
            tolerance=_TOLERANCE,
            least=1.0,
        ),
        same(f"{pair.of}: loss", loss, expected.loss, tolerance=_TOLERANCE),
    ]


def _layouts(case: Case) -> Sequence[Pieces]:
    """The products by our chunks and of the whole batch at once; none but for perceptrons."""
    if not isinstance(case.network, Perceptron):
        return []
    rows = len(case.x)
    sizes = sorted({min(case.chunk, rows), rows})
    return [Pieces(case.network.spec.widths, rows, size) for size in sizes]
