"""One tab's network: it learns, is looked at, perturbed, saved and loaded. Nothing here knows of a browser."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probes.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from probes.errors import InputError
from probes.evaluation.directions import gradient_direction, noise_direction
from probes.networks.kinds import read_spec
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.playground.points import read_csv
from probes.playground.setup import ACTIVATIONS, CSV, MOST_DEPTH, MOST_WIDTH, Setup
from probes.runs.optimizers import make_optimizer
from studies.parts.planar import planar_tensors
from trust.optim import Fromage, MeasuredLimit, agd_initialisation_

__all__ = ["DIRECTIONS", "MOST_PERCENT", "MOST_STEPS", "Perturbation", "Session"]

BOUNDARY, THUMBNAIL = 100, 24
"""Values across the map of the output, and across a neuron's."""
REACH = 1.2
"""Maps are of [−1.2, 1.2]²."""
MOST_SHOWN = 200
DIRECTIONS = ("gradient", "random")
MOST_PERCENT = 200.0
MOST_STEPS = 20_000
"""To which a link may lead at once."""

Bytes = npt.NDArray[np.uint8]


class Perturbation:
    """How far each weight matrix, with its bias, is moved, in percent of each tensor's norm, and in what direction."""

    def __init__(self, percent: Sequence[float], direction: str = "random", seed: int = 0) -> None:
        """Check it.

        Raises:
            InputError: it is none.
        """
        numbers = [value for value in percent if type(value) in (int, float) and math.isfinite(value)]
        if len(numbers) != len(percent) or not all(0 <= value <= MOST_PERCENT for value in numbers):
            raise InputError(f"a layer moves by 0 to {MOST_PERCENT:g} percent of its norm")
        if direction not in DIRECTIONS:
            raise InputError(f"the direction must be one of {', '.join(DIRECTIONS)}")
        if type(seed) is not int or not 0 <= seed < 2**31:
            raise InputError("the seed of a random direction is a whole number from 0")
        self.percent = [float(value) for value in numbers]
        self.direction = direction
        self.seed = seed

    def __bool__(self) -> bool:
        """Whether anything moves."""
        return any(self.percent)


class Session:
    """A network with its optimizer, its points and where it stands.

    Attributes:
        setup: what it was made from.
        network: it.
        x: points (n, 2).
        side: their classes ±1 (n, 1).
        steps: that were made.
        shareable: whether its setup and its steps are all that it takes to have it again.
    """

    def __init__(self, setup: Setup | None = None, points: tuple[Tensor, Tensor] | None = None) -> None:
        """A fresh network.

        Args:
            setup: None for the default.
            points: where the setup's data are a CSV.

        Raises:
            InputError: the setup wants a CSV, and there is none.
        """
        self.setup = setup or Setup()
        if self.setup.data == CSV and points is None:
            raise InputError("choose a CSV file first")
        self.shareable = self.setup.data != CSV
        self.x, self.side = (
            points
            if points is not None and self.setup.data == CSV
            else planar_tensors(self.setup.data, self.setup.seed)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.setup.seed)
            self.network = Perceptron(self.setup.network)
            for weight in self.network.parameters():
                if weight.ndim == 2:
                    agd_initialisation_(weight)
        self._begin()

    def _begin(self) -> None:
        """Before the first step."""
        self.steps = 0
        self.optimizer = make_optimizer(
            self.setup.optimizer, self.network.parameters(), lr=min(self.setup.lr, 10.0)
        )
        self.rule = None
        if self.setup.rule == "measured-limit":
            assert isinstance(self.optimizer, Fromage)
            self.rule = MeasuredLimit(self.optimizer, factor=self.setup.lr)
        self.order = torch.Generator().manual_seed(self.setup.seed)

    @classmethod
    def of_csv(cls, setup: Setup, text: str) -> Session:
        """A fresh network for a CSV.

        Raises:
            InputError: it cannot be read.
        """
        return cls(replace(setup, data=CSV), read_csv(text))

    def rebuilt(self, setup: Setup) -> Session:
        """A fresh network of another setup; a CSV stays."""
        return Session(setup, (self.x, self.side) if self.setup.data == CSV else None)

    def copy(self) -> Session:
        """The same, apart: to be measured while this one goes on."""
        return deepcopy(self)

    def train(self, steps: int) -> None:
        """Make steps.

        Raises:
            InputError: the weights are no numbers any more.
        """
        with _one_thread():
            for _ in range(steps):
                rows = torch.randint(len(self.x), (self.setup.batch,), generator=self.order)

                def closure(rows: Tensor = rows) -> Tensor:
                    self.optimizer.zero_grad()
                    loss = self._loss(self.x[rows], self.side[rows])
                    loss.backward()  # type: ignore[no-untyped-call]
                    return loss

                if self.rule is not None:
                    self.rule.step(closure)
                else:
                    closure()
                    self.optimizer.step()
                self.steps += 1
        if not all(bool(weight.isfinite().all()) for weight in self.network.parameters()):
            raise InputError("the weights are no numbers any more: reset, and take smaller steps")

    def _loss(self, x: Tensor, side: Tensor) -> Tensor:
        loss: Tensor = (self.network(x) - side).square().mean()
        return loss

    def loss_and_accuracy(self) -> tuple[float, float]:
        """Of all points."""
        with torch.no_grad():
            outputs = self.network(self.x)
        loss = float((outputs - self.side).square().mean())
        return loss, float(((outputs > 0) == (self.side > 0)).float().mean())

    def shown_points(self) -> list[list[float]]:
        """Some of the points, [x, y, class] each, as many as a map has room for."""
        both = torch.cat([self.x, self.side], 1)[:MOST_SHOWN]
        found: list[list[float]] = both.tolist()
        return found

    def boundary(self, network: Perceptron | None = None) -> Bytes:
        """The output over the plane, (100, 100), rows from above; 0 for −1.5 and below, 255 for 1.5 and above."""
        with torch.no_grad(), _one_thread():
            outputs = (network or self.network)(_plane(BOUNDARY)).reshape(BOUNDARY, BOUNDARY)
        return _as_bytes(outputs / 1.5)

    def neurons(self) -> list[Bytes]:
        """What every hidden neuron passes on over the plane, a (width, 24, 24) a layer, each by its own largest."""
        seen: list[Tensor] = []
        later = list(self.network.layers)[1:]
        handles = [layer.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for layer in later]
        try:
            with torch.no_grad(), _one_thread():
                self.network(_plane(THUMBNAIL))
        finally:
            for handle in handles:
                handle.remove()
        found = []
        for given in seen:
            values = given.T.reshape(-1, THUMBNAIL, THUMBNAIL)
            largest = values.abs().amax((1, 2), keepdim=True).clamp_min(1e-12)
            found.append(_as_bytes(values / largest))
        return found

    def moved(self, perturbation: Perturbation) -> dict[str, Tensor]:
        """The tensors as perturbed: W_l + r_l d_l with ‖d_l‖ = ‖W_l‖, the bias of a layer by the same share.

        Raises:
            InputError: it has another number of layers.
        """
        if len(perturbation.percent) != self.setup.depth:
            raise InputError(f"the network has {self.setup.depth} layers, not {len(perturbation.percent)}")
        own = {name: tensor.detach() for name, tensor in self.network.named_parameters()}
        if perturbation.direction == "random":
            direction = noise_direction(own, list(own), seed=perturbation.seed)
        else:
            parameters = dict(self.network.named_parameters())
            with _one_thread():
                gradients = torch.autograd.grad(self._loss(self.x, self.side), list(parameters.values()))
            direction = gradient_direction(own, dict(zip(parameters, gradients, strict=True)))
        shares = {name: perturbation.percent[int(name.split(".")[1])] / 100 for name in own}
        return {name: own[name] + shares[name] * direction[name] for name in own}

    def perturbed(self, moved: dict[str, Tensor]) -> Perceptron:
        """The network with these tensors."""
        network = deepcopy(self.network)
        network.load_state_dict(moved)
        return network

    def checkpoint(self) -> bytes:
        """The network as a file that ``probe run`` takes."""
        details = {
            "network": self.setup.network.to_json(),
            "step": self.steps,
            "loss": "mse",
            "optimizer": self.setup.optimizer,
            "lr": self.setup.lr,
            "batch_size": self.setup.batch,
            "seed": self.setup.seed,
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.safetensors"
            write_checkpoint(path, self.network.state_dict(), details)
            return path.read_bytes()

    def data_file(self) -> bytes:
        """The points as a file that ``probe run --data`` takes."""
        stream = io.BytesIO()
        np.savez(stream, x=self.x.numpy(), y=self.side.numpy())
        return stream.getvalue()

    def load(self, content: bytes) -> Session:
        """A network from a checkpoint's bytes, on this one's points, before its first step here.

        Raises:
            InputError: it is none, or none of two inputs, one output and these sizes.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "loaded-checkpoint"
            path.write_bytes(content)
            try:
                checkpoint = read_checkpoint(path)
            except InputError as error:
                raise InputError(str(error).replace(str(path), "the checkpoint")) from None
            spec = read_spec(checkpoint.details["network"]) if "network" in checkpoint.details else None
            made = Session(self._setup_of(spec), (self.x, self.side))
            try:
                made.network.load_state_dict(dict(checkpoint.tensors))
            except RuntimeError:
                raise InputError(
                    "the checkpoint's tensors are not those of the network that it describes"
                ) from None
        made.x, made.side = self.x, self.side
        made.shareable = False
        return made

    def _setup_of(self, spec: Any) -> Setup:
        if not isinstance(spec, PerceptronSpec):
            raise InputError("the checkpoint describes no perceptron: save one here, or by probe train")
        hidden = set(spec.widths[1:-1]) or {1}
        if (
            (spec.inputs, spec.outputs, len(hidden)) != (2, 1, 1)
            or spec.norm != "none"
            or not all(spec.biases)
        ):
            raise InputError(
                "the checkpoint's network must have 2 inputs, hidden layers of one width with biases, no norm and 1"
                f" output, got widths {spec.widths}"
            )
        if spec.depth > MOST_DEPTH or max(hidden) > MOST_WIDTH or spec.activation not in ACTIVATIONS:
            raise InputError(
                f"the checkpoint's network must have at most {MOST_DEPTH} layers of {MOST_WIDTH}, and one of the"
                f" activations {', '.join(ACTIVATIONS)}"
            )
        return replace(
            self.setup,
            depth=spec.depth,
            width=max(hidden),
            activation=spec.activation,
            residual=spec.residual,
        )


def _plane(count: int) -> Tensor:
    """Points of the plane (count², 2), rows from above."""
    places = torch.linspace(-REACH, REACH, count)
    y, x = torch.meshgrid(places.flip(0), places, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def _as_bytes(values: Tensor) -> Bytes:
    """[−1, 1] as 0 to 255; what is no number is the middle."""
    scaled = (values.nan_to_num(0.0).clamp(-1, 1) + 1) * 127.5
    found: Bytes = scaled.round().to(torch.uint8).numpy()
    return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other at every layer cost more than they do, at these sizes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
