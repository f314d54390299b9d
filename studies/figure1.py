"""``probe figure1``: the paper's Figure 1 from nothing: train, measure, report, and continue where it was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from analysis import Findings, Overview, find
from probes.choices import SEEDS, check_count
from probes.data.dataset import DataSet, load_data
from probes.measures.etas import parse_etas
from probes.measures.settings import SliceSettings
from probes.networks.perceptron import PerceptronSpec
from probes.runs.history import copy_history, read_history
from probes.runs.results import load
from probes.runs.run import measure_run
from probes.runs.training import TrainingSettings, train
from probes.system.terminal import say
from studies.frame import Conclusion, Coordinates, Study, claim_study, interval
from studies.parts.conclusions import beside_paper, ends_by_name, runs_where
from trust import measurements as variables

__all__ = ["PRESETS", "Figure1", "reproduce"]

_PUBLISHED_EPOCH = 240  # steps: 60,000 images in batches of 250


@dataclass(frozen=True)
class Preset:
    """How large a reproduction is.

    Attributes:
        width: of the hidden layers.
        etas: of the slices.
        jacobian: examples whose Jacobians are measured.
        curvature: as the run takes it: 0 for the Hessian beside the slopes, None for slopes alone.
        chunk: examples at once.
        batch_size: of training.
        schedule: for a network's name, the epochs, steps an epoch (None: one pass), decay and checkpoints.
    """

    width: int
    etas: npt.NDArray[np.float64]
    jacobian: int
    curvature: int | None
    chunk: int
    batch_size: int
    schedule: dict[str, tuple[int, int | None, float, str]]


_NETWORKS = {  # name: title, depth, residual
    "2-layer": ("2 layers", 2, False),
    "16-layer": ("16 layers", 16, False),
    "16-layer-residual": ("16 layers, residual", 16, True),
}

_EPOCHS = "0:0,0:4,0:8,0:16,0:32,2,4,6,9,12"

PRESETS = {
    "toy": Preset(
        width=8,
        etas=np.array([0.0, 1e-4, 1e-2, 0.1]),
        jacobian=1,
        curvature=None,
        chunk=1000,
        batch_size=125,
        schedule=dict.fromkeys(_NETWORKS, (1, 4, 0.9, "2")),
    ),
    "quick": Preset(
        width=256,
        etas=np.concatenate([[0.0], np.geomspace(1e-4, 0.5, 16)]),
        jacobian=8,
        curvature=None,
        chunk=5000,  # at width 256 one large product keeps two cores busier than ten small ones
        batch_size=125,  # the plain 16-layer net needs the steps: only thus are its last slices of a trained network
        schedule={
            "2-layer": (12, None, 0.9, _EPOCHS),
            "16-layer": (50, None, 0.95, "10"),
            "16-layer-residual": (12, None, 0.9, _EPOCHS),
        },
    ),
    "paper": Preset(
        width=784,
        etas=parse_etas("paper"),
        jacobian=8,
        curvature=0,
        chunk=500,
        batch_size=250,
        schedule=dict.fromkeys(_NETWORKS, (10, _PUBLISHED_EPOCH, 0.9, "paper")),
    ),
}


class Figure1(Study):
    """The three networks from several seeds: figures of the first, numbers of all."""

    name = "figure1"
    question = "Along slices, how far is deep relative trust from the loss and the breakdown (Figure 1)?"
    presets = PRESETS
    caveats = (
        "The figure is of the first seed; `probe report` on the folders under runs/ judges every claim on each.",
        "Measured on the data that the networks were trained on, as in the paper.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """The networks, the longest first."""
        return [{"network": name} for name in reversed(size.schedule)]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """The step limits and the effective constant of each checkpoint, and its accuracy."""
        _trained_and_measured(size, str(run["network"]), folder, data, int(run["seed"]), "auto")
        overview = Overview("", load(folder / "measurements"))
        found = overview.limits[["constant", "lemma2", "predicted", "measured"]]
        found = found.assign(accuracy=overview.measurements[variables.TRAIN_ACCURACY])
        return found.reset_coords(drop=True).drop_vars("checkpoint")

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """What the constant and the limits are at the end of training, over the seeds."""
        from figures.figure1 import draw_figure1, numbers_of_figure1

        shown = []
        rows = [["network", "accuracy", "C at η₀", "Lemma 2's limit", "measured", "predicted / measured"]]
        numbers: dict[str, float] = {}
        lines = []
        for name, (title, _, _) in _NETWORKS.items():
            own = runs_where(found, network=name)
            folder = Path(str(own["folder"].values[int(np.argmin(own["seed"].values))]))
            shown.append(
                Overview(title, load(folder / "measurements"), read_history(folder / "measurements"))
            )
            last = own.isel(checkpoint=-1)
            ratio = interval(own["predicted"] / own["measured"])
            parts = {key: interval(last[key]) for key in ("accuracy", "constant", "lemma2", "measured")}
            above = interval(last["lemma2"] / last["measured"])
            rows.append([title, *(one.shown() for one in parts.values()), ratio.shown()])
            each = {**parts, "lemma2_over_measured": above, "predicted_over_measured": ratio}
            numbers |= ends_by_name({f"{name}/{key}": one for key, one in each.items()})
            lines.append(
                f"{title}: at the last checkpoint the gradient has changed {parts['constant'].shown()} times as far as"
                f" deep relative trust allows at η₀, and Lemma 2's limit is {above.shown()} times the measured one;"
                f" at all checkpoints the predicted limit is {ratio.shown()} of it."
            )
        last = found.isel(checkpoint=-1)
        lines.append(
            beside_paper(
                "The paper's Lemma 2, with the constant that it drops, has every relative step below 2^(1/L) − 1 lower"
                " the loss, here at the last checkpoint",
                (last["measured"] < last["lemma2"]).where(last["measured"].notnull()),
                "networks",
            )
        )
        return Conclusion("\n".join(lines), numbers, rows, draw_figure1(shown), numbers_of_figure1(shown))


def reproduce(
    preset: str, out: Path, *, data: str = "mnist", seed: int = 0, device: str = "auto"
) -> list[Findings]:
    """Train the three networks, measure their slices and analyse them; what is there already is not done again.

    Args:
        preset: a name of :data:`PRESETS`.
        out: the folder for everything.
        data: a data spec; ``mnist:FOLDER`` for the full 60,000 images.
        seed: of the initial weights and the data's order.
        device: for the slices.

    Raises:
        InputError: another reproduction is in the folder, or it cannot be written; or no generator takes the seed.
    """
    check_count("seed", seed, *SEEDS)
    size = PRESETS[preset]
    made = load_data(data)
    identity = {"preset": preset, "data": data, "data_hash": made.digest(), "seed": seed}
    with claim_study(out, "figure1", identity):
        return _reproduce(size, out, made, seed, device)


def _reproduce(size: Preset, out: Path, made: DataSet, seed: int, device: str) -> list[Findings]:
    found: list[Findings] = []
    for number, (name, (title, _, _)) in enumerate(_NETWORKS.items(), 1):
        say(f"[{number}/{len(_NETWORKS)}] {title}: training, then probing", err=True)
        _trained_and_measured(size, name, out / name, made, seed, device)
        measurements = out / name / "measurements"
        found.append(find(load(measurements), title=title, history=read_history(measurements)))
    return found


def _trained_and_measured(
    size: Preset, name: str, folder: Path, data: DataSet, seed: int, device: str
) -> None:
    """Train one network into ``checkpoints``, and measure its slices into ``measurements``."""
    checkpoints, measurements = folder / "checkpoints", folder / "measurements"
    train(_training(size, name, data, seed), checkpoints, data=data, what=f"train {name}")
    settings = SliceSettings(
        etas=size.etas,
        jacobian=size.jacobian,
        curvature=size.curvature,
        chunk=size.chunk,
        device=device,
        etas_at_once=1,
    )
    measure_run(checkpoints, measurements, settings=settings, what=f"probe {name}")
    copy_history([str(checkpoints)], measurements)


def _training(size: Preset, name: str, data: DataSet, seed: int) -> TrainingSettings:
    _, depth, residual = _NETWORKS[name]
    epochs, epoch_steps, decay, checkpoints = size.schedule[name]
    inputs = math.prod(data.x.shape[1:])
    network = PerceptronSpec(
        widths=(inputs, *[size.width] * (depth - 1), 10),
        activation="relu",
        residual=residual,
        biases=(True,) * depth,
    )
    return TrainingSettings(
        network=network,
        data=data.spec,
        epochs=epochs,
        epoch_steps=epoch_steps,
        lr=0.01,
        lr_decay=decay,
        batch_size=size.batch_size,
        checkpoints=checkpoints,
        seed=seed,
    )
