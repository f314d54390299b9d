"""What several processes do together in the tests, and one alone for comparison."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes import InputError
from probes.checkpoints.checkpoint import write_checkpoint
from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.losses import Loss, ModelLoss, resolve_loss
from probes.evaluation.curvature import directional_curvature
from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import Evaluator
from probes.measures.adversarial import Ascent, find_worst
from probes.measures.settings import SliceSettings
from probes.runs.run import measure_run
from probes.runs.source import Source
from probes.slices.slice import measure_slice
from probes.system import failures
from probes.system.processes import Share, from_environment
from tests.support import processes
from tests.support.reference import make, make_data

EXACT = torch.float64
Arrays = dict[str, Any]


class Words(nn.Module):
    """Outputs for every word, as a language model's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(6, 4), nn.Linear(4, 6)

    def forward(self, words: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.head(torch.tanh(self.embedding(words).cumsum(1))))


class Doubled(torch.autograd.Function):
    """2 x g, which has no derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Tensor) -> Tensor:
        return 2 * x * gradient

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        raise RuntimeError("this derivative is not implemented")


class OnceOnly(torch.autograd.Function):
    """x², which only a process with examples finds out to have no second derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return Doubled.apply(x, gradient)  # type: ignore[no-any-return,no-untyped-call]


class Square(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return OnceOnly.apply(self.linear(x))  # type: ignore[no-any-return,no-untyped-call]


def seeded(kind: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind().double()


def evaluated(
    share: Share, network: nn.Module, data: Batches, loss: Loss | None = None, samples: int = 4
) -> Arrays:
    """Everything that one pass over the data gives, and its curvature."""
    function = loss or resolve_loss(None, data)[1]
    evaluator = Evaluator(network, data, None, function, dtype=EXACT, chunk=4, share=share)
    names = list(evaluator.frozen)
    found = evaluator.evaluate(evaluator.frozen, wanted=names, samples=samples)
    curvature = directional_curvature(evaluator, Direction.of(found.gradients))
    return {
        "loss": found.loss,
        "accuracy": found.accuracy,
        "outputs": found.outputs.numpy(),
        "curvature": curvature,
        "loss alone": evaluator.loss(evaluator.frozen),
        **{name: gradient.numpy() for name, gradient in found.gradients.items()},
    }


def examples(count: int) -> Batches:
    return Batches([Batch(*make_data(count))])


def sentences() -> Batches:
    draw = torch.Generator().manual_seed(1)
    lengths = ((2, 5), (1, 3), (3, 5), (1, 2))
    return Batches(
        [
            Batch(torch.randint(0, 6, shape, generator=draw), torch.randint(0, 6, shape, generator=draw))
            for shape in lengths
        ]
    )


def in_batches() -> Batches:
    x, y = make_data(14)
    ends = (0, 3, 4, 9, 14)
    cuts = itertools.pairwise(ends)
    return Batches([Batch(x[a:b], y[a:b]) for a, b in cuts], cut=True)


def batch_mean(model: Any, batch: Any) -> Tensor:
    """A mean that is none over the examples, so that the batches it is taken over matter."""
    outputs, y = model(batch[0]), batch[1]
    weights = y.to(outputs.dtype) + 1
    losses = nn.functional.cross_entropy(outputs, y, reduction="none")
    return (losses * weights).sum() / weights.sum()


def worst(share: Share, objective: str) -> Arrays:
    data = examples(11)
    evaluator = Evaluator(make(), data, None, resolve_loss(None, data)[1], dtype=EXACT, chunk=4, share=share)
    ascent = Ascent(objective=objective, examples=5, steps=4, restarts=1)
    found = find_worst(evaluator, list(evaluator.frozen), 0.1, ascent=ascent)
    return {
        "value": found.value,
        "evaluations": found.evaluations,
        **{name: change.numpy() for name, change in found.change.items()},
    }


def sliced(share: Share, **settings: Any) -> Arrays:
    x, y = make_data(10)
    chosen = SliceSettings(
        etas=np.array([0.0, 0.01, 0.1, 1.0]), dtype="float64", samples=7, chunk=4, jacobian=2, **settings
    )
    found = measure_slice(make(seed=1), x, y, settings=chosen, share=share)
    return {str(name): array.values for name, array in found.data_vars.items()}


def curved(share: Share) -> Arrays:
    """Eigenvalues, traces and all that is searched for by products."""
    x, y = make_data(10)
    settings = {"etas": np.array([0.0, 0.01]), "dtype": "float64", "chunk": 4, "samples": 2}
    more = {"ladder": False, "limit": False, "split": "none", "spot_check": False}
    chosen = SliceSettings(**settings, **more, curvature=2, curvature_lowest=1, batch_sharpness=3)  # type: ignore[arg-type]
    found = measure_slice(make(seed=1, activation="tanh"), x, y, settings=chosen, share=share)
    # a residual is what an iteration was ended at, by its rounding
    return {str(n): array.values for n, array in found.data_vars.items() if not n.endswith("residual")}


CASES: dict[str, Callable[[Share], Arrays]] = {
    "uneven": lambda share: evaluated(share, make(), examples(20), samples=9),
    "fewer examples than processes": lambda share: evaluated(share, make(), examples(2)),
    "lengths": lambda share: evaluated(share, seeded(Words), sentences(), samples=6),
    "own batches": lambda share: evaluated(share, make(), in_batches(), ModelLoss(batch_mean)),
    "own loss, one piece": lambda share: evaluated(share, make(), examples(14), ModelLoss(batch_mean)),
    "own loss, one batch": lambda share: evaluated(share, make(), examples(3), ModelLoss(batch_mean)),
    "no second derivative": lambda share: evaluated(share, seeded(Square), examples(2)),
    "worst output": lambda share: worst(share, "output"),
    "worst breakdown": lambda share: worst(share, "breakdown"),
    "curvature": curved,
    "slice": lambda share: sliced(share),
    "slice, noise": lambda share: sliced(share, direction="noise"),
}


def told(share: Share) -> Arrays:
    """What the methods of a share do, on this process."""
    r = share.rank
    tensors = [
        torch.full((2, 3), float(r + 1)),
        torch.full((2, 2), float(r), dtype=EXACT).t(),
        torch.tensor(2**r),
        torch.full((2**18 + 1,), 0.5 * r, dtype=EXACT),
        torch.zeros(0),
    ]
    share.sum_(tensors)
    led_calls: list[float] = []
    led = share.led(
        lambda f: f(2.0 + r) + f(3.0 + r) + 100 * r, lambda at: led_calls.append(at) or share.same(at + r)
    )
    one = torch.full((2, 2), float(r))
    share.copy_([one.t()])
    return {
        "sums": np.array([float(t.double().sum()) for t in tensors]),
        "rows": share.gather(torch.full((r, r + 1), float(r), dtype=EXACT)).numpy(),
        "none": share.gather(torch.zeros(0, 0, dtype=EXACT)).numpy(),
        "same": share.same(float(r + 5)),
        "led": led,
        "led calls": np.array(led_calls),
        "copied": one.numpy(),
        "first": share.first(lambda: r + 7),
        "part": np.array([share.part(7).start, share.part(7).stop, share.part(1).stop]),
        "together": share.together(lambda: r),
    }


def complaint(work: Callable[[], object]) -> str:
    """The line of what is refused."""
    try:
        work()
    except InputError as error:
        return str(error)
    return ""


def dislike(share: Share, rank: int) -> None:
    if share.rank == rank:
        raise InputError(f"process {rank} cannot use it")


def write_run(folder: Path) -> Source:
    """Four checkpoints and data."""
    x, y = make_data(10)
    np.savez(folder / "data.npz", x=x.numpy(), y=y.numpy())
    (folder / "net").mkdir()
    for step in range(4):
        network = make(seed=step)
        details = {"network": network.spec.to_json(), "step": step}
        write_checkpoint(folder / "net" / f"step-{step}.safetensors", network.state_dict(), details)
    return run_source(folder)


def run_source(folder: Path) -> Source:
    return Source((str(folder / "net"),), data=str(folder / "data.npz"))


RUN = SliceSettings(etas=np.array([0.0, 0.01, 0.1]), ladder=False)
MIXED = SliceSettings(etas=np.array([0.0, 0.1]), batchnorm="batch")


def work(rank: int, size: int, port: int, folder: Path) -> None:
    """One of the processes: everything, into ``rank.npz`` and ``rank.json``."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # as torchrun says: the starter keeps the store
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    # on a busy machine others may take their time to answer
    failures._HEARD, failures._ROLL_CALL = timedelta(seconds=processes.LONG), processes.LONG
    lines: list[str] = []
    with from_environment(say=lines.append) as share:
        results = {name: case(share) for name, case in CASES.items()}
        results["told"] = told(share)
        x, y = make_data(10)
        refused = {
            "first": complaint(lambda: share.first(lambda: dislike(share, 0))),
            "together": complaint(lambda: share.together(lambda: dislike(share, 2))),
            "agree": complaint(
                lambda: share.agree({"weights": "a", "data": f"{rank == 1}"}, remedy="give others")
            ),
            "batch statistics": complaint(
                lambda: measure_slice(make(norm="batch"), x, y, settings=MIXED, share=share)
            ),
        }
        measure_run(run_source(folder), folder / "apart", settings=RUN, share=share, shard="checkpoints")
        written = sorted(path.name for path in (folder / "apart" / "slices").iterdir())
    assert not lines
    status: object = None
    try:
        with from_environment(say=lines.append) as share:
            dislike(share, 1)
            share.wait()  # for one that does not come
    except SystemExit as error:
        status = error.code
    flat = {f"{case}/{name}": array for case, found in results.items() for name, array in found.items()}
    np.savez(folder / f"{rank}.npz", **flat)
    document = {"refused": refused, "written": written, "status": status, "lines": lines}
    (folder / f"{rank}.json").write_text(json.dumps(document), "utf-8")
