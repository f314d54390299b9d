"""The chunk is chosen by a clock; here the clock is the loss function, which says how long each chunk took."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from probes import InputError
from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.losses import ModelLoss
from probes.runs.chunk import ChunkChoice, choose_chunk
from tests.support.reference import make

LONG = 10_000.0  # evaluations of a run that is worth a timing


class Machine:
    """Takes ``fixed`` seconds for a chunk and ``each`` for an example, and has room for ``most`` examples."""

    def __init__(self, fixed: float, each: float, most: float = float("inf"), spike: int = 0) -> None:
        self.fixed, self.each, self.most, self.spike = fixed, each, most, spike
        self.now = 0.0
        self.chunks: list[int] = []

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.requires_grad:  # the loss is evaluated once more in float64
            self.chunks.append(len(outputs))
            self.now += self.fixed + self.each * len(outputs)
            self.now += 10 * self.each * len(outputs) * (len(self.chunks) == self.spike)
            if len(outputs) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    def choose(self, count: int = 9000, evaluations: float = LONG, **options: Any) -> ChunkChoice:
        data = Batches([Batch(torch.ones(count, 2), torch.zeros(count, dtype=torch.int64))])
        return choose_chunk(
            nn.Linear(2, 2),
            data,
            options.pop("loss", self.loss),
            dtype=torch.float32,
            device="cpu",
            evaluations=evaluations,
            clock=lambda: self.now,
            **options,
        )


def test_the_fastest_is_taken() -> None:
    found = Machine(fixed=1e-3, each=1e-6).choose()
    assert found.chunk == 4000
    assert list(found.timings) == [125, 500, 1000, 2000, 4000]
    for chunk, seconds in found.timings.items():
        assert seconds == pytest.approx(1e-6 + 1e-3 * -(-4000 // chunk) / 4000)
    assert found.seconds == found.timings[4000]


def test_of_equals_the_smallest_is_taken() -> None:
    # 1,000 at once is within 3 % of 4,000 at once; 500 is not
    assert Machine(fixed=3e-5, each=1e-6).choose().chunk == 1000
    assert Machine(fixed=0.0, each=1e-6).choose().chunk == 125


def test_the_best_of_several_counts() -> None:
    """A machine that was busy for a while during the first timing of one candidate."""
    undisturbed = Machine(fixed=1e-3, each=1e-6)
    expected = undisturbed.choose()
    last = undisturbed.chunks.index(4000) + 1
    disturbed = Machine(fixed=1e-3, each=1e-6, spike=last - 1)
    # the clock adds up other terms before: rounding
    assert disturbed.choose().timings[2000] == pytest.approx(expected.timings[2000], rel=1e-9)


@pytest.mark.parametrize(
    ("fixed", "each"), [(1e-3, 1e-5), (1e-2, 1e-4), (1e-4, 1e-3), (1e-1, 1e-2), (0.0, 1.0)]
)
@pytest.mark.parametrize("evaluations", [25.0, 250.0, 2500.0, 1e9])
def test_it_takes_little_of_the_runs_time(fixed: float, each: float, evaluations: float) -> None:
    machine = Machine(fixed, each)
    found = machine.choose(evaluations=evaluations)
    run = evaluations * (9000 * each + fixed * -(-9000 // found.chunk))
    first = 2 * (fixed + 8 * each)  # without which nothing is known
    assert machine.now <= min(5.3, 0.045 * run) + first


def test_a_short_run_gets_the_default_at_once() -> None:
    machine = Machine(fixed=1e-5, each=1e-5)
    found = machine.choose(evaluations=3)
    assert (found.chunk, found.timings) == (1000, {})
    assert "short run" in found.reason
    assert sum(machine.chunks) <= 300
    assert machine.choose(count=700, evaluations=3).chunk == 700


def test_slow_examples_get_the_smallest() -> None:
    machine = Machine(fixed=0.0, each=0.05)
    found = machine.choose()
    assert found.chunk == 125
    assert sum(machine.chunks) <= 60
    assert found.seconds == pytest.approx(0.05)


def test_few_examples_are_one_chunk() -> None:
    found = Machine(fixed=1e-3, each=1e-6).choose(count=60)
    assert (found.chunk, found.reason) == (60, "all examples")
    assert list(Machine(fixed=1e-3, each=1e-6).choose(count=600).timings) == [125, 500, 600]


def test_memory_that_runs_out_ends_the_candidates() -> None:
    found = Machine(fixed=1e-3, each=1e-6, most=700).choose()
    assert found.chunk == 500
    assert list(found.timings) == [125, 500]
    assert Machine(fixed=1e-3, each=1e-6, most=40).choose().chunk == 31
    with pytest.raises(InputError, match="out of memory with one example"):
        Machine(fixed=1e-3, each=1e-6, most=0).choose()


def test_memory_that_is_known_bounds_the_candidates() -> None:
    machine = Machine(fixed=1e-3, each=1e-6)
    assert list(machine.choose(largest=lambda: 1999.0).timings) == [125, 500, 1000]
    assert max(machine.chunks) == 1000
    assert machine.choose(largest=lambda: 20.5).chunk == 20
    assert machine.choose(largest=lambda: 0.2).chunk == 1
    assert machine.choose(largest=lambda: 300.0, evaluations=3).chunk == 125


def test_other_errors_pass() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        Machine(0.0, 1.0).choose(loss=loss)


def test_where_there_is_nothing_to_choose() -> None:
    machine = Machine(fixed=1e-3, each=1e-6)
    assert machine.choose(asked=77).chunk == 77
    own = ModelLoss(lambda model, batch: machine.loss(model(batch[0]), batch[1]))
    assert machine.choose(loss=own).chunk == 1000
    x, y = torch.randn(300, 6), torch.zeros(300, dtype=torch.int64)
    network = make(norm="batch")
    options: dict[str, Any] = {"dtype": torch.float32, "device": "cpu", "evaluations": LONG}

    def choose(batchnorm: str, count: int = 300) -> ChunkChoice:
        data = Batches([Batch(x[:count], y[:count])])
        return choose_chunk(network, data, machine.loss, batchnorm=batchnorm, **options)

    assert choose("batch").chunk == 300
    assert choose("running").chunk in (125, 300)


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.random.get_rng_state()
    data = Batches([Batch(torch.ones(200, 2), torch.zeros(200, dtype=torch.int64))])
    loss: Callable[..., Tensor] = Machine(1e-3, 1e-6).loss
    choose_chunk(network, data, loss, dtype=torch.float32, device="cpu", evaluations=1e9)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_choice_is_kept_as_it_was() -> None:
    for choice in (Machine(1e-3, 1e-6).choose(), ChunkChoice(7, "why")):
        again = ChunkChoice.from_json(choice.to_json())
        assert again.to_json() == choice.to_json()
        assert again.chunk == choice.chunk
    good = ChunkChoice(7, "why").to_json()
    for damaged in (None, [], {}, {**good, "size": 0}, {**good, "size": True}, {**good, "timings": {"x": 1}}):
        with pytest.raises(InputError, match="damaged"):
            ChunkChoice.from_json(damaged)
