"""``probe study perturbed-function``: what layerwise relative noise does to the functions of small networks.

Tanh networks of one to twenty hidden layers are trained by Fromage to tell two classes of points of the plane apart,
and their weights and biases get noise, each tensor a share of its own norm. A small generator of digits gets the same:
the bubble that the authors' blog asks its readers to burst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from matplotlib.figure import Figure

from analysis.wording import number
from figures.fields import Field, Sheet, draw_fields
from figures.panels import Panel, Series, numbers_of_panels
from probes.data.dataset import DataSet
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import beside_paper, ends_by_name, runs_where
from studies.parts.gan import GanSpec, train_gan
from studies.parts.noise import noisy_outputs, output_changes
from studies.parts.planar import PLANAR, POINTS, planar_network, planar_points, planar_tensors
from studies.parts.tasks import labelled_images
from trust.distance import deep_relative_trust

__all__ = ["PerturbedFunction", "Preset"]

Floats = npt.NDArray[np.float64]
_GAN = "digits"
_GAN_RATE = 0.01
_ASKED = 0.2
"""The noise that the blog asks about."""
_LEARNED = 0.9
"""The accuracy from which points count as learned."""


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        depths: hidden layers; the first and the last are drawn.
        steps: of training.
        noise: shares of a tensor's norm.
        shown: those that are drawn.
        draws: of the noise.
        grid: values across a drawn function.
        gan: the generator of digits, and its discriminator.
        gan_steps: of their training.
    """

    depths: tuple[int, ...]
    steps: int
    noise: tuple[float, ...]
    shown: tuple[float, ...]
    draws: int
    grid: int
    gan: GanSpec
    gan_steps: int


_NOISE = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
PRESETS = {
    "toy": Preset((1, 3), 20, (0.01, 0.2, 0.5), (0.0, 0.5), 2, 4, GanSpec(2, 4, 2), 5),
    "quick": Preset((1, 2, 5, 10, 20), 2000, _NOISE, (0.0, 0.1, 0.2, 0.5), 20, 32, GanSpec(), 3000),
    "paper": Preset(
        (1, 2, 5, 10, 20), 10000, _NOISE, (0.0, 0.1, 0.2, 0.5), 100, 64, GanSpec(width=256), 20000
    ),
}


class PerturbedFunction(Study):
    """Decision boundaries, outputs and images under layerwise noise."""

    name = "perturbed-function"
    question = "How do functions and images change under layerwise noise, and does deep relative trust tell?"
    data = "mnist-14x14"
    presets = PRESETS
    caveats = (
        "The planar points are the study's own; the data of the command train the generator of digits alone.",
        "Depth counts hidden layers, as the blog does; deep relative trust is of all weight matrices, one more. Biases"
        " get noise too, and it does not count them.",
        "The output's change is of held-out points together, ‖f̃ − f‖/‖f‖; where a network has not learned its points"
        " it says little of boundaries.",
        "All planar networks are trained alike, by settings chosen for what the networks learn, before any noise. They"
        " end at different losses and slopes: deep ones are nearly steps, as the maps show, and tanh that is saturated"
        " hides noise. Of networks at one loss, or of other activations, nothing is said.",
        "The generator's change is of its outputs before the sigmoid, those of black pixels too; images are after it.",
        "Deep relative trust is a model of gradients in the paper; its product without a condition number is what the"
        " blog writes for outputs.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """Each depth on each set of points, and the generator."""
        planar: list[Coordinates] = [
            {"points": name, "depth": depth} for name in PLANAR for depth in size.depths
        ]
        return [*planar, {"points": _GAN, "depth": size.gan.depth - 1}]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """``change`` and ``flips`` (noise, draw), ``accuracy`` and ``field`` (shown, y, x); of digits ``image``."""
        name, seed = str(run["points"]), int(run["seed"])
        if name == _GAN:
            return _digits(size, data, seed)
        network = planar_network(name, depth=int(run["depth"]), steps=size.steps, seed=seed)
        x, side = planar_tensors(name, seed, held_out=True)
        change, outputs = output_changes(network, x, size.noise, draws=size.draws, seed=seed)
        clean = network(x).detach()
        places = torch.linspace(-1, 1, size.grid)
        grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), -1).reshape(-1, 2)
        drawn = [noisy_outputs(network, grid, eta, seed=seed) for eta in size.shown]
        return xr.Dataset(
            {
                "change": (("noise", "draw"), change),
                "flips": (
                    ("noise", "draw"),
                    (outputs.sign() != clean.sign()).double().mean((-2, -1)).numpy(),
                ),
                "accuracy": float((clean.sign() == side).float().mean()),
                "field": (
                    ("shown", "y", "x"),
                    np.array([one.reshape(size.grid, size.grid).numpy() for one in drawn]).round(4),
                ),
            },
            {"noise": list(size.noise), "shown": list(size.shown)},
        )

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """Functions and images of the first seed, and changes of all."""
        cells = {(str(run["points"]), int(run["depth"])): runs_where(found, **run) for run in self.runs(size)}
        panels = _panels(size, cells)
        numbers: dict[str, float] = {}
        rows = [["points", "hidden layers", "accuracy", "trust at 20 %", "change", "labels that flip"]]
        for (name, depth), own in cells.items():
            at = own.sel(noise=_ASKED)
            change, flips, right = (_over_seeds(at[what]) for what in ("change", "flips", "accuracy"))
            trust = float(deep_relative_trust([_ASKED] * (depth + 1)))
            shown = [one.shown() if np.isfinite(one.middle) else "—" for one in (right, change, flips)]
            rows.append([name, str(depth), shown[0], number(trust, 2), *shown[1:]])
            numbers |= ends_by_name(
                {
                    f"{name}/{depth}/{what}/{eta:g}": _over_seeds(own[what].sel(noise=eta))
                    for what in ("change", "flips")
                    for eta in size.noise
                }
            )
        return Conclusion(
            _answer(size, cells), numbers, rows, _drawn(size, cells, panels), numbers_of_panels(panels)
        )


Cells = Mapping[tuple[str, int], xr.Dataset]


def _digits(size: Preset, data: DataSet, seed: int) -> xr.Dataset:
    """Of the generator's outputs before the sigmoid; and an image of each class, by noise."""
    pixels, labels = labelled_images(data)
    generator, _ = train_gan(
        pixels, labels, "fromage", _GAN_RATE, steps=size.gan_steps, seed=seed, spec=size.gan
    )
    chance = torch.Generator().manual_seed(seed)
    wanted = torch.arange(POINTS) % generator.classes
    x = generator.inputs(torch.randn(POINTS, generator.latent, generator=chance), wanted)
    change, _ = output_changes(generator.perceptron, x, size.noise, draws=size.draws, seed=seed)
    first = x[: generator.classes]
    images = np.array(
        [
            torch.sigmoid(noisy_outputs(generator.perceptron, first, eta, seed=seed)).numpy()
            for eta in size.shown
        ]
    )
    return xr.Dataset(
        {
            "change": (("noise", "draw"), change),
            "image": (("shown", "class", "pixel"), images.round(3)),
        },
        {"noise": list(size.noise), "shown": list(size.shown)},
    )


def _over_seeds(found: xr.DataArray) -> Interval:
    """Of a number of each seed: the median over draws of the noise."""
    return interval(found.median("draw") if "draw" in found.dims else found)


def _called(depth: int) -> str:
    return f"{depth} hidden layer" + ("s" if depth > 1 else "")


def _panels(size: Preset, cells: Cells) -> list[Panel | None]:
    """Changes beside trust, and labels that flip below them; the generator has no labels."""
    above: list[Panel | None] = []
    below: list[Panel | None] = []
    planar = [one["flips"].median("draw") for (name, _), one in cells.items() if name in PLANAR]
    highest = 1.05 * max(float(one.max()) for one in planar)
    for name in (*PLANAR, _GAN):
        own = {depth: one for (points, depth), one in cells.items() if points == name}
        looks: dict[int, float | None] = {
            depth: size.depths.index(depth) / len(size.depths) if name in PLANAR else None for depth in own
        }
        changes, flips = (
            [
                banded(
                    _called(depth) if name in PLANAR else "the generator",
                    size.noise,
                    [_over_seeds(one[what].sel(noise=eta)) for eta in size.noise],
                    shade=looks[depth],
                    mark=False,
                )
                for depth, one in own.items()
            ]
            for what in ("change", "flips")
        )
        for depth, shade in looks.items():
            trust = [float(deep_relative_trust([eta] * (depth + 1))) for eta in size.noise]
            changes.append(
                Series("deep relative trust", size.noise, trust, line=":", mark=False, shade=shade)
            )
        noted = not above
        above.append(Panel(name, "noise η", "‖f̃ − f‖/‖f‖" if noted else "", changes, log_x=True, log_y=True))
        below.append(
            Panel(
                "",
                "noise η",
                "labels that flip" if noted else "",
                flips,
                log_x=True,
                limits=(-0.03 * highest, highest),
            )
            if name in PLANAR
            else None
        )
    return [*above, *below]


def _drawn(size: Preset, cells: Cells, panels: list[Panel | None]) -> Figure:
    first = {key: one.isel(run=int(np.argmin(one["seed"].values))) for key, one in cells.items()}
    ends = (size.depths[0], size.depths[-1])
    fields = []
    for name in PLANAR:
        points, sides = planar_points(name, POINTS, 0)
        fields.append(
            [
                Field(first[name, depth]["field"].sel(shown=eta), points, sides)
                for depth in ends
                for eta in size.shown
            ]
        )
    images = first[_GAN, size.gan.depth - 1]["image"].transpose("shown", "class", "pixel").values
    side = int(images.shape[-1] ** 0.5)
    return draw_fields(
        fields,
        rows=[*PLANAR],
        columns=[f"depth {depth}\n{eta:.0%}" for depth in ends for eta in size.shown],
        sheet=Sheet(
            images.reshape(*images.shape[:2], side, side),
            [f"{eta:.0%}" for eta in size.shown],
            "images of a generator with so much noise",
        ),
        panels=panels,
    )


def _answer(size: Preset, cells: Cells) -> str:
    ends = (size.depths[0], size.depths[-1])
    flips = {depth: _over_seeds(cells["checkerboard", depth]["flips"].sel(noise=_ASKED)) for depth in ends}
    if flips[ends[0]].high < flips[ends[1]].low:
        steadier = f"the one of {_called(ends[0])} is steadier"
    elif flips[ends[1]].high < flips[ends[0]].low:
        steadier = f"the one of {_called(ends[1])} is steadier"
    else:
        steadier = "seeds overlap, and none is seen to be steadier"
    lines = [
        f"The blog's question, which network on the checkerboard is steadier under noise of {_ASKED:.0%}: labels flip"
        f" for {flips[ends[0]].shown()} of the points with {_called(ends[0])} and for {flips[ends[1]].shown()} with"
        f" {_called(ends[1])}; {steadier}."
    ]
    for depth in size.depths:
        own = {name: cells[name, depth] for name in PLANAR}
        each = [_ratios(size, one, depth) for one in own.values()]
        least, most = (interval([ratio[k] for ratio in each]) for k in (0, size.noise.index(_ASKED)))
        learned = [name for name, one in own.items() if float(one["accuracy"].median()) >= _LEARNED]
        lines.append(
            f"{_called(depth)}: the output changes by {least.shown()} of deep relative trust at noise of"
            f" {size.noise[0]:.0%} and by {most.shown()} of it at {_ASKED:.0%}, over the sets of points;"
            f" {'all are' if len(learned) == len(own) else ', '.join(learned) or 'none is'} learned."
        )
    digits = cells[_GAN, size.gan.depth - 1]
    change = _over_seeds(digits["change"].sel(noise=_ASKED))
    lines.append(
        f"The generator's output changes by {change.shown()} at {_ASKED:.0%}, where deep relative trust is"
        f" {number(float(deep_relative_trust([_ASKED] * size.gan.depth)), 2)}."
    )
    above = {key: _ratios(size, one, key[1]) > 1 for key, one in cells.items()}
    lines.append(
        beside_paper(
            "The blog has the output's relative change below deep relative trust, or about it",
            np.concatenate([*above.values()]),
            "networks and shares of noise (medians over draws and seeds)",
        )
    )
    where = [f"{name} with {_called(depth)}" for (name, depth), one in above.items() if one.any()]
    if where:
        worst = max(float(_ratios(size, one, key[1]).max()) for key, one in cells.items())
        lines[-1] += f" It is so for {', '.join(where)}, by a factor of {number(worst, 2)} at most."
    return "\n".join(lines)


def _ratios(size: Preset, own: xr.Dataset, depth: int) -> Floats:
    """The change over deep relative trust, at each share of noise."""
    trust = np.array([float(deep_relative_trust([eta] * (depth + 1))) for eta in size.noise])
    return np.asarray(own["change"].median(("run", "draw")).sel(noise=list(size.noise)).values / trust)
