"""``probe figure1``: the paper's Figure 1 from nothing: train, measure, report, and continue where it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis import Findings, find
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
from studies.frame import claim_study

__all__ = ["PRESETS", "reproduce"]

_PUBLISHED_EPOCH = 240  # steps: 60,000 images in batches of 250


@dataclass(frozen=True)
class Preset:
    """How large a reproduction is.

    Attributes:
        width: of the hidden layers.
        etas: of the slices.
        jacobian: examples whose Jacobians are measured.
        curvature: whether the Hessian's curvature is computed beside the slopes'.
        chunk: examples at once.
        batch_size: of training.
        schedule: for a network's name, the epochs, steps an epoch (None: one pass), decay and checkpoints.
    """

    width: int
    etas: npt.NDArray[np.float64]
    jacobian: int
    curvature: bool
    chunk: int
    batch_size: int
    schedule: dict[str, tuple[int, int | None, float, str]]


_NETWORKS = {  # name: title, depth, residual
    "2-layer": ("2 layers", 2, False),
    "16-layer": ("16 layers", 16, False),
    "16-layer-residual": ("16 layers, residual", 16, True),
}

PRESETS: dict[str, Callable[[], Preset]] = {
    "quick": lambda: Preset(
        width=256,
        etas=np.concatenate([[0.0], np.geomspace(1e-4, 0.5, 16)]),
        jacobian=8,
        curvature=False,
        chunk=5000,  # at width 256 one large product keeps two cores busier than ten small ones
        batch_size=125,  # the plain 16-layer net needs the steps: only thus are its last slices of a trained network
        schedule={
            "2-layer": (12, None, 0.9, "0:0,0:4,0:8,0:16,0:32,2,4,6,9,12"),
            "16-layer": (50, None, 0.95, "10"),
            "16-layer-residual": (12, None, 0.9, "0:0,0:4,0:8,0:16,0:32,2,4,6,9,12"),
        },
    ),
    "paper": lambda: Preset(
        width=784,
        etas=parse_etas("paper"),
        jacobian=8,
        curvature=True,
        chunk=500,
        batch_size=250,
        schedule=dict.fromkeys(_NETWORKS, (10, _PUBLISHED_EPOCH, 0.9, "paper")),
    ),
}


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
    size = PRESETS[preset]()
    made = load_data(data)
    identity = {"preset": preset, "data": data, "data_hash": made.digest(), "seed": seed}
    with claim_study(out, "figure1", identity):
        return _reproduce(size, out, made, data, seed, device)


def _reproduce(size: Preset, out: Path, made: DataSet, data: str, seed: int, device: str) -> list[Findings]:
    found: list[Findings] = []
    for number, (name, (title, depth, residual)) in enumerate(_NETWORKS.items(), 1):
        checkpoints, measurements = out / name / "checkpoints", out / name / "measurements"
        say(f"[{number}/{len(_NETWORKS)}] {title}: training, then probing", err=True)
        train(
            _training(size, name, depth, residual, made, data, seed),
            checkpoints,
            data=made,
            what=f"train {name}",
        )
        settings = SliceSettings(
            etas=size.etas, jacobian=size.jacobian, curvature=size.curvature, chunk=size.chunk, device=device
        )
        measure_run(checkpoints, measurements, settings=settings, what=f"probe {name}")
        copy_history([str(checkpoints)], measurements)
        history = read_history(measurements)
        found.append(find(load(measurements), title=title, history=history))
    return found


def _training(
    size: Preset, name: str, depth: int, residual: bool, data: DataSet, spec: str, seed: int
) -> TrainingSettings:
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
        data=spec,
        epochs=epochs,
        epoch_steps=epoch_steps,
        lr=0.01,
        lr_decay=decay,
        batch_size=size.batch_size,
        checkpoints=checkpoints,
        seed=seed,
    )
