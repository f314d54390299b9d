"""Every optimizer by its name: ten steps at 0.01 against its formula in NumPy, and that a saved one goes on."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from probes import InputError
from probes.checkpoints.checkpoint import read_checkpoint
from probes.networks.perceptron import PerceptronSpec
from probes.runs.optimizers import OPTIMIZERS, make_optimizer, rate_of
from probes.runs.training import train
from tests.probes.runs.test_training import SETTINGS, toy

Arrays = list[np.ndarray]
Rule = Callable[[Arrays, Arrays, int], Arrays]
SHAPES = [(6, 4), (3, 6), (3,)]
ETA, STEPS = 0.01, 10


def weights() -> Arrays:
    """The first has a norm beyond 10, at which pytorch_optimizer's Lamb counts no further."""
    random = np.random.default_rng(0)
    return [scale * random.normal(size=shape) for scale, shape in zip((20.0, 1.0, 0.1), SHAPES, strict=True)]


def gradients(step: int) -> Arrays:
    """Of sizes from 1e-7 up, and with an entry that is zero."""
    random = np.random.default_rng(1 + step)
    found = [size * random.normal(size=shape) for size, shape in zip((1e-7, 1.0, 1e3), SHAPES, strict=True)]
    found[1][0, 0] = 0.0
    return found


def norm(array: np.ndarray) -> float:
    return float(np.sqrt((array**2).sum()))


def moments(beta1: float, beta2: float) -> Callable[[Arrays, int], list[tuple[np.ndarray, np.ndarray]]]:
    m, v = ([np.zeros(shape) for shape in SHAPES] for _ in range(2))

    def update(g: Arrays, t: int) -> list[tuple[np.ndarray, np.ndarray]]:
        for k, gradient in enumerate(g):
            m[k] = beta1 * m[k] + (1 - beta1) * gradient
            v[k] = beta2 * v[k] + (1 - beta2) * gradient**2
        return [(m[k] / (1 - beta1**t), v[k] / (1 - beta2**t)) for k in range(len(g))]

    return update


def fromage() -> Rule:
    return lambda w, g, t: [
        (a - ETA * norm(a) / norm(b) * b) / math.sqrt(1 + ETA**2) for a, b in zip(w, g, strict=True)
    ]


def lars() -> Rule:
    return lambda w, g, t: [a - ETA * norm(a) / norm(b) * b for a, b in zip(w, g, strict=True)]


def sgd() -> Rule:
    return lambda w, g, t: [a - ETA * b for a, b in zip(w, g, strict=True)]


def signsgd() -> Rule:
    return lambda w, g, t: [a - ETA * np.sign(b) for a, b in zip(w, g, strict=True)]


def adam(beta1: float = 0.9) -> Rule:
    update = moments(beta1, 0.999)
    return lambda w, g, t: [
        a - ETA * m / (np.sqrt(v) + 1e-8) for a, (m, v) in zip(w, update(g, t), strict=True)
    ]


def lamb(beta1: float = 0.9) -> Rule:
    update = moments(beta1, 0.999)

    def rule(w: Arrays, g: Arrays, t: int) -> Arrays:
        directions = [np.divide(m, np.sqrt(v), out=np.zeros_like(m), where=v > 0) for m, v in update(g, t)]
        return [a - ETA * norm(a) / norm(u) * u for a, u in zip(w, directions, strict=True)]

    return rule


def madam() -> Rule:
    update = moments(0.0, 0.999)
    bounds = [3 * np.sqrt((w**2).mean()) for w in weights()]

    def rule(w: Arrays, g: Arrays, t: int) -> Arrays:
        made = []
        for a, b, (_, v), bound in zip(w, g, update(g, t), bounds, strict=True):
            ratio = np.divide(b, np.sqrt(v), out=np.zeros_like(b), where=v > 0)
            made.append(np.clip(a * np.exp(-ETA * np.sign(a) * np.clip(ratio, -10, 10)), -bound, bound))
        return made

    return rule


def nero() -> Rule:
    average: dict[Any, float] = {}
    scale = np.sqrt((weights()[2] ** 2).mean())

    def rule(w: Arrays, g: Arrays, t: int) -> Arrays:
        made = []
        for k, (a, b) in enumerate(zip(w, g, strict=True)):
            if t == 1 and a.ndim == 2:
                a = on_sphere(a)
            moved = a.copy()
            for i, row in enumerate(b):
                average[k, i] = 0.999 * average.get((k, i), 0.0) + 0.001 * float((row**2).sum())
                size = np.sqrt(average[k, i] / (1 - 0.999**t))
                moved[i] -= ETA * (norm(a[i]) if a.ndim == 2 else scale) / size * row
            made.append(on_sphere(moved) if a.ndim == 2 else moved)
        return made

    return rule


def on_sphere(w: np.ndarray) -> np.ndarray:
    centred = w - w.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).sum(axis=1, keepdims=True))


def muon() -> Rule:
    """Torch's conventions: a running mean of momentum 0.95, Nesterov's look ahead, the published five iterations."""
    mean: Arrays = [np.zeros(shape) for shape in SHAPES]
    others = adam()

    def rule(w: Arrays, g: Arrays, t: int) -> Arrays:
        made = others(w, g, t)
        for k in (0, 1):
            mean[k] = 0.95 * mean[k] + 0.05 * g[k]
            X = 0.05 * g[k] + 0.95 * mean[k]
            X = X / max(norm(X), 1e-7)
            for _ in range(5):
                A = X @ X.T
                X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
            rows, columns = SHAPES[k]
            made[k] = w[k] - ETA * math.sqrt(max(1, rows / columns)) * X
        return made

    return rule


RULES = {rule.__name__: rule for rule in (fromage, lars, sgd, signsgd, adam, lamb, madam, nero, muon)}


@pytest.mark.parametrize(("name", "beta1"), [*((name, None) for name in RULES), ("adam", 0.0), ("lamb", 0.0)])
def test_ten_steps_are_the_formulas(name: str, beta1: float | None) -> None:
    expected = weights()
    rule = RULES[name]() if beta1 is None else {"adam": adam, "lamb": lamb}[name](beta1)
    more = {} if beta1 is None else {"betas": (beta1, 0.999)}
    parameters = [torch.nn.Parameter(torch.tensor(w)) for w in expected]
    optimizer = make_optimizer(name, parameters, lr=ETA, **more)
    for t in range(1, STEPS + 1):
        g = gradients(t)
        after = rule(expected, g, t)
        for parameter, gradient in zip(parameters, g, strict=True):
            parameter.grad = torch.tensor(gradient)
        optimizer.step()
        for k, (parameter, new, old) in enumerate(zip(parameters, after, expected, strict=True)):
            # Relative to the step. Newton-Schulz in bfloat16, of 2⁻⁸, and five times a polynomial of slope 3.4; a few
            # digits of 16 are lost to the step's being 1e-4 of the weight elsewhere.
            step = norm(new - old)
            rounding = 0.05 if name == "muon" and k < 2 else 1e-9
            assert norm(parameter.detach().numpy() - new) < rounding * step, (name, t, k)
            if name == "muon" and k < 2:  # so that roundings do not add up
                with torch.no_grad():
                    parameter.copy_(torch.tensor(new))
        expected = after


def test_larss_matrices_step_as_the_librarys_with_the_papers_settings() -> None:
    from pytorch_optimizer import LARS

    ours, theirs = ([torch.nn.Parameter(torch.tensor(w)) for w in weights()[:2]] for _ in range(2))
    pair = (
        make_optimizer("lars", ours, lr=ETA),
        LARS(theirs, lr=ETA, momentum=0, trust_coefficient=1),
    )
    for t in range(3):
        for parameters, optimizer in zip((ours, theirs), pair, strict=True):
            for parameter, gradient in zip(parameters, gradients(t), strict=False):
                parameter.grad = torch.tensor(gradient)
            optimizer.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=0)


NAMES = sorted(set(OPTIMIZERS) - {"sam", "flow", "exponential-euler"})  # whose steps ask for gradients


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_one_goes_on_as_it_would_have(name: str) -> None:
    shapes = SHAPES[:2] if name == "agd" else SHAPES

    def run(parameters: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * 0.9**step
            for parameter, gradient in zip(parameters, gradients(step), strict=False):
                parameter.grad = torch.tensor(gradient, dtype=torch.float32)
            optimizer.step()

    def fresh() -> Iterator[torch.nn.Parameter]:
        for w in weights()[: len(shapes)]:
            yield torch.nn.Parameter(torch.tensor(w, dtype=torch.float32))

    kept = list(fresh())
    optimizer = make_optimizer(name, kept, lr=rate_of(name))
    run(kept, optimizer, range(3))
    file = io.BytesIO()
    torch.save({"weights": [w.detach() for w in kept], "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    taken = list(fresh())
    other = make_optimizer(name, taken, lr=rate_of(name))
    with torch.no_grad():
        for w, value in zip(taken, saved["weights"], strict=True):
            w.copy_(value)
    other.load_state_dict(saved["optimizer"])
    run(kept, optimizer, range(3, 6))
    run(taken, other, range(3, 6))
    for one, another in zip(kept, taken, strict=True):
        assert torch.equal(one, another)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(tmp_path: Path, name: str) -> None:
    network = PerceptronSpec((6, 16, 3), "tanh", biases=(name != "agd",) * 2)
    rate = {"fromage": 0.02, "lars": 0.02, "sgd": 0.1, "momentum": 0.05, "agd": 1.0}.get(name, 0.01)
    settings = replace(
        SETTINGS, network=network, optimizer=name, lr=rate, epochs=30, checkpoints="2", initialization="agd"
    )
    first, last = train(settings, tmp_path, data=toy())
    accuracy = [read_checkpoint(path).details["train_accuracy"] for path in (first, last)]
    assert accuracy[1] > accuracy[0] or accuracy[1] == 1, accuracy


def test_the_first_checkpoint_is_where_the_first_step_begins(tmp_path: Path) -> None:
    """Nero moves the weights when it takes them; agd's initialisation is orthogonal."""
    network = PerceptronSpec((6, 16, 3), "tanh", biases=(False, False))
    settings = replace(SETTINGS, network=network, optimizer="nero", epochs=1, checkpoints="2")
    first = read_checkpoint(train(settings, tmp_path / "nero", data=toy())[0]).tensors["layers.0.weight"]
    torch.testing.assert_close(first.norm(dim=1), torch.ones(16))
    settings = replace(settings, optimizer="agd", lr=1.0, initialization="agd")
    first = read_checkpoint(train(settings, tmp_path / "agd", data=toy())[0]).tensors["layers.0.weight"]
    torch.testing.assert_close(torch.linalg.svdvals(first), torch.full((6,), (16 / 6) ** 0.5))


def test_what_agd_cannot_move(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="`optimizer='agd'`: moves weight matrices alone; train without biases"
    ):
        train(replace(SETTINGS, optimizer="agd"), tmp_path, data=toy())
    with pytest.raises(InputError, match="initialization='he'"):
        replace(SETTINGS, initialization="he")
    assert "initialization" not in SETTINGS.identity()
    assert replace(SETTINGS, initialization="agd").identity()["initialization"] == "agd"
