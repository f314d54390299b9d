"""``probe study lipschitz``: how loose a certified Lipschitz bound is, and what holding singular values does to it.

A perceptron on MNIST and a small transformer on text are trained by Adam, freely, with their singular values capped
after every step, and with every matrix's spectral norm set. At the end the certificate, the product of the layers'
largest stretches over all inputs, stands beside the Jacobians at held-out examples and the steepest pair of points that
ascent finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.data.dataset import DataSet, load_data
from probes.networks.perceptron import Perceptron
from probes.networks.transformer import CharTransformer, TransformerSpec
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import beside_paper, ends_by_name, runs_where
from studies.parts.networks import perceptron
from studies.parts.steepness import log10_certificate, matrices, parts_of, steepest_found, steepness
from trust.optim import cap_singular_values_, normalise_spectral_norm_

__all__ = ["Lipschitz", "Preset"]

_NETWORKS = {"perceptron": "perceptron, MNIST", "transformer": "transformer, text"}
_RULES: dict[str, tuple[str, Callable[[Tensor, float], Tensor]]] = {
    "cap": ("singular values capped", cap_singular_values_),
    "normalise": ("spectral norms set", normalise_spectral_norm_),
}
_FREE = "free"
_RATES = {"perceptron": 0.001, "transformer": 0.003}
_HELD_OUT = 0.2
_LEVELS = {
    "certificate": "certified, all inputs",
    "product": "product of the layers' Jacobians, examples",
    "found": "found by ascent",
    "measured": "measured at examples",
}


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of the perceptron's hidden layers.
        depth: its weight matrices.
        stream: the width of the transformer.
        blocks: of it.
        context: characters of a sequence.
        batch_size: of training, images or sequences.
        steps: of training.
        targets: spectral norms that rules hold, from large to small.
        examples: held out, at which Jacobians are taken and ascent begins.
        ascent: steps of it.
    """

    width: int
    depth: int
    stream: int
    blocks: int
    context: int
    batch_size: int
    steps: int
    targets: tuple[float, ...]
    examples: int
    ascent: int


PRESETS = {
    "toy": Preset(8, 3, 8, 1, 4, 50, 5, (2.0, 0.5), 2, 3),
    "quick": Preset(64, 4, 32, 2, 16, 64, 1000, (4.0, 2.0, 1.0), 8, 200),
    "paper": Preset(256, 4, 64, 4, 32, 64, 10000, (8.0, 4.0, 2.0, 1.0, 0.5), 16, 2000),
}


class Lipschitz(Study):
    """The certificate beside what is measured and found, free and held."""

    name = "lipschitz"
    question = "How loose is a certified Lipschitz bound, and what does holding singular values in training do to it?"
    presets = PRESETS
    caveats = (
        "What ascent finds is a lower bound of the Lipschitz constant: the true one is between it and the certificate.",
        "Both are over all inputs, also such as no image or text is; at examples the Jacobian alone is meant.",
        "The transformer's input is the sequence of embedded characters, not characters. Softmax attention is not"
        " Lipschitz on all inputs (Kim, Papamakarios and Mnih, 2021); behind a layer norm, whose outputs are bounded,"
        " it is. A layer norm alone may stretch by 1/√ε = 316, and does where its input hardly varies; Newhouse and"
        " others (2025) train without any.",
        "Rules hold every weight matrix and the characters' embeddings, not the gains of layer norms. All train by"
        " Adam at one rate, which falls to zero, and none is tuned; Newhouse and others find Muon better for weights"
        " that are held.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """Both networks, free and by each rule at each target."""
        cases = [(_FREE, math.inf), *((rule, target) for rule in _RULES for target in size.targets)]
        return [
            {"network": name, "rule": rule, "target": target} for name in _NETWORKS for rule, target in cases
        ]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """``certificate``, ``product``, ``measured`` and ``found``, all in log10, and ``accuracy`` held out."""
        name, seed = str(run["network"]), int(run["seed"])
        x, y = _examples(name, size, data)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _network(name, size, data, int(torch.maximum(x.max(), y.max())) + 1)
        held = int(_HELD_OUT * len(x))
        _train(network, x[:-held], y[:-held], run, size, _RATES[name])
        with torch.no_grad():
            accuracy = float((network(x[-held:]).argmax(-1) == y[-held:]).float().mean())
        network.double()
        few = x[-size.examples :]
        points = few.double() if isinstance(network, Perceptron) else _embedded(network, few)
        parts = parts_of(network)
        each = np.array([steepness(parts, point[None]) for point in points])
        found = steepest_found(parts, points, steps=size.ascent, seed=seed)
        return xr.Dataset(
            {
                "certificate": log10_certificate(network, size.context),
                "product": np.log10(each[:, 1].max()),
                "measured": np.log10(each[:, 0].max()),
                "found": np.log10(max(found, each[:, 0].max())),
                "accuracy": accuracy,
            }
        )

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """A row a network and rule, and three panels a network."""
        cells = {
            (name, rule, target): _cells(runs_where(found, network=name, rule=rule, target=target))
            for name in _NETWORKS
            for rule, target in [(_FREE, math.inf), *((r, t) for r in _RULES for t in size.targets)]
        }
        heading = "network | rule | log10 certified | product at examples | found | at examples | accuracy"
        rows = [heading.split(" | ")]
        numbers: dict[str, float] = {}
        for (name, rule, target), cell in cells.items():
            called = "free" if rule == _FREE else f"{_RULES[rule][0]}, {target:g}"
            shown = [*(_rounded(cell[level]).shown(3) for level in _LEVELS), cell["accuracy"].shown(3)]
            rows.append([_NETWORKS[name], called, *shown])
            of = rule if rule == _FREE else f"{rule}/{target:g}"
            numbers |= ends_by_name({f"{name}/{of}/{level}": one for level, one in cell.items()})
        panels = [panel for name in _NETWORKS for panel in _panels(size, name, cells)]
        return Conclusion(
            _answer(size, cells, found),
            numbers,
            rows,
            draw_panels(panels, columns=3),
            numbers_of_panels(panels),
        )


Cells = Mapping[tuple[str, str, float], Mapping[str, Interval]]


def _examples(name: str, size: Preset, data: DataSet) -> tuple[Tensor, Tensor]:
    """Images, or the beginnings of the windows of Python's own documentation, with characters numbered from 0."""
    if name == "perceptron":
        return data.x.float().flatten(1), data.y
    text = load_data("text")
    known = torch.tensor(sorted({*text.x.flatten().tolist(), *text.y.flatten().tolist()}))
    x, y = (torch.searchsorted(known, one[:, : size.context].contiguous()) for one in (text.x, text.y))
    return x, y


def _network(name: str, size: Preset, data: DataSet, vocabulary: int) -> Perceptron | CharTransformer:
    if name == "perceptron":
        return Perceptron(perceptron(data, width=size.width, depth=size.depth))
    return CharTransformer(
        TransformerSpec(vocabulary=vocabulary, context=size.context, width=size.stream, blocks=size.blocks)
    )


def _train(
    network: Perceptron | CharTransformer, x: Tensor, y: Tensor, run: Coordinates, size: Preset, lr: float
) -> None:
    """By Adam, its rate falling to zero; the rule holds from the start on."""
    rule = _RULES[str(run["rule"])][1] if run["rule"] in _RULES else None
    order = torch.Generator().manual_seed(int(run["seed"]))
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=size.steps)

    def hold() -> None:
        if rule is not None:
            for weight in matrices(network):
                rule(weight, float(run["target"]))

    hold()
    for _ in range(size.steps):
        rows = torch.randint(len(x), (size.batch_size,), generator=order)
        outputs = network(x[rows])
        loss = nn.functional.cross_entropy(outputs.flatten(0, -2), y[rows].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        falling.step()
        hold()


def _embedded(network: CharTransformer, x: Tensor) -> Tensor:
    """What a transformer's certificate is about, of characters (n, t)."""
    embedded: Tensor = network.characters(x) + network.positions.weight[: x.shape[1]]
    return embedded.detach()


def _cells(own: xr.Dataset) -> dict[str, Interval]:
    return {name: interval(own[name]) for name in (*_LEVELS, "accuracy")}


def _panels(size: Preset, name: str, cells: Cells) -> list[Panel]:
    panels = []
    for rule, (called, _) in _RULES.items():
        places = [(_FREE, math.inf), *((rule, target) for target in size.targets)]
        lines = []
        for level, label in _LEVELS.items():
            ends = [cells[(name, *place)][level] for place in places]
            powers = [Interval(*(10.0**end for end in (one.low, one.middle, one.high))) for one in ends]
            lines.append(banded(label, range(len(places)), powers))
        panels.append(
            Panel(
                f"{_NETWORKS[name]}:\n{called}",
                "largest singular value c",
                "stretch ‖Δf‖/‖Δx‖",
                lines,
                log_y=True,
                ticks=["free", *(f"{target:g}" for target in size.targets)],
            )
        )
    points = []
    for rule, label in ((_FREE, "free"), *((rule, called) for rule, (called, _) in _RULES.items())):
        of = [cells[name, rule, t] for t in ((math.inf,) if rule == _FREE else size.targets)]
        points.append(
            Series(
                label,
                [10.0 ** one["certificate"].middle for one in of],
                [one["accuracy"].middle for one in of],
                [one["accuracy"].low for one in of],
                [one["accuracy"].high for one in of],
            )
        )
    panels.append(
        Panel(
            f"{_NETWORKS[name]}:\nwhat it costs",
            "certified stretch",
            "accuracy, held out",
            points,
            log_x=True,
        )
    )
    return panels


def _answer(size: Preset, cells: Cells, found: xr.Dataset) -> str:
    lines = []
    for name, called in _NETWORKS.items():
        free = cells[name, _FREE, math.inf]
        whole, within, between = (
            _gap(found, name, _FREE, math.inf, *levels)
            for levels in (("certificate", "measured"), ("certificate", "product"), ("product", "measured"))
        )
        lines.append(
            f"{called}, trained freely: certified is a stretch of {_power(free['certificate'])}, ascent finds"
            f" {_power(free['found'])}, and at {size.examples} held-out examples the Jacobian is at most"
            f" {_power(free['measured'])}. Certificate and examples are {whole} orders of magnitude apart: {within}"
            f" because layers are not at their steepest at examples, {between} because layers do not stretch most what"
            " the layers before stretched most."
        )
        for rule, (held, _) in _RULES.items():
            each = (
                f"at {target:g}, {_power(cells[name, rule, target]['certificate'])} is certified,"
                f" {_gap(found, name, rule, target, 'certificate', 'measured')} orders above the examples, with"
                f" accuracy {cells[name, rule, target]['accuracy'].shown()}"
                for target in size.targets
            )
            lines.append(f"{called}, {held}: {'; '.join(each)}. Freely it is {free['accuracy'].shown()}.")
    above = found["found"].values > found["certificate"].values
    lines.append(beside_paper("A certificate is never below what is found", above, "networks"))
    return "\n".join(lines)


def _power(one: Interval) -> str:
    """Of ten, by the median and the ends in log10."""
    return f"10^{_rounded(one).shown(3)}"


def _rounded(one: Interval) -> Interval:
    """To two places behind the point: logarithms near zero have no digits of their own."""
    return Interval(*(round(end, 2) + 0.0 for end in (one.low, one.middle, one.high)))


def _gap(found: xr.Dataset, name: str, rule: str, target: float, above: str, below: str) -> str:
    """Orders of magnitude between two levels, seed by seed."""
    own = runs_where(found, network=name, rule=rule, target=target)
    return _rounded(interval(own[above].values - own[below].values)).shown()
