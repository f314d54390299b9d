"""What a data callable may return, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from probes import InputError
from probes.data import loaders as reading
from probes.data.loaders import read_batches
from tests.probes.data.examples import DRAW, EXACT, Pairs, X, Y, agrees, made, plain


class Pair(nn.Module):
    """Two inputs, and outputs in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(2, 4)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, str]:
        return torch.tanh(self.left(a)) * self.right(b), "more"


class Stream(IterableDataset[Any]):
    """The same, one after the other and of no known number."""

    def __iter__(self) -> Iterator[Any]:
        return iter(zip(X, Y, strict=True))


KINDS: dict[str, Callable[[], Any]] = {
    "pair": lambda: (X, Y),
    "arrays": lambda: [X.numpy(), Y.tolist()],
    "dict": lambda: {"input": X, "label": Y},
    "tensor dataset": lambda: TensorDataset(X, Y),
    "dataset of tuples": Pairs,
    "dataset of lists": lambda: Pairs(lambda x, y: [x.numpy(), y]),
    "dataset of dicts": lambda: Pairs(lambda x, y: {"input": x, "y": y}),
    "stream": Stream,
    "loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=4),
    "shuffled loader": lambda: DataLoader(Pairs(), batch_size=4, shuffle=True),
    "loader of a stream": lambda: DataLoader(Stream(), batch_size=5),
    "list of batches": lambda: [(X[:4], Y[:4]), (X[4:5], Y[4:5]), (X[5:], Y[5:])],
    "list of dicts": lambda: [{"input": X[:4], "targets": Y[:4]}, {"input": X[4:], "targets": Y[4:]}],
    "generator": lambda: ([X[k : k + 2], Y[k : k + 2]] for k in range(0, 11, 2)),
    "empty batches between": lambda: [(X[:0], Y[:0]), (X[:7], Y[:7]), (X[7:], Y[7:]), (X[:0], Y[:0])],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_data_is_a_loop_over_its_examples(kind: str) -> None:
    network = made(plain)
    losses = (nn.functional.cross_entropy(network(x[None]), y[None]) for x, y in zip(X, Y, strict=True))
    batch = agrees(network, KINDS[kind](), "cross-entropy", losses)
    assert len(batch) == 11
    assert len(batch.data.pieces) == 1


@pytest.mark.parametrize("form", ["tuples", "inputs in a tuple", "inputs in a dict", "dict"])
def test_several_inputs(form: str) -> None:
    network, b, z = made(Pair), X[:, :2] * 2, torch.randn(11, 4, dtype=EXACT, generator=DRAW)
    if form == "tuples":
        data: Any = [(X[:6], b[:6], z[:6]), (X[6:], b[6:], z[6:])]
    elif form == "inputs in a tuple":
        data = [((X[:6], b[:6]), z[:6]), ((X[6:], b[6:]), z[6:])]
    elif form == "inputs in a dict":
        data = ({"a": X, "b": b}, z)
    else:
        data = {"a": X, "b": b, "y": z}
    losses = (((network(x[None], w[None])[0] - t) ** 2).mean() for x, w, t in zip(X, b, z, strict=True))
    batch = agrees(network, data, "mse", losses)
    outputs = batch.evaluate(batch.frozen, samples=11).outputs
    torch.testing.assert_close(outputs, network(X, b)[0].detach())


def test_a_loader_that_shuffles_is_read_once_and_always_the_same() -> None:
    loader = DataLoader(Pairs(), batch_size=4, shuffle=True)
    found = []
    for seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            state = torch.random.get_rng_state()
            found.append(read_batches(loader, "--data mine"))
            assert torch.equal(state, torch.random.get_rng_state())
    (first, note), (second, _) = found
    assert first.digest() == second.digest()
    assert "shuffles" in note
    plain, other = first.plain, read_batches(DataLoader(Pairs(), batch_size=4), "--data mine")
    assert plain is not None
    assert not torch.equal(plain[1], Y)
    assert sorted(plain[1].tolist()) == sorted(Y.tolist())
    assert other[1] == ""
    assert other[0].digest() != first.digest()


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (X, "give x and y"),
        (3, "give x and y"),
        ("text", "give x and y"),
        (None, "give x and y"),
        ([], "no examples"),
        ({}, "no inputs"),
        ({"labels": Y}, "no inputs"),
        ([(X[:0], Y[:0])], "no examples"),
        ((X, Y[:5]), "x and y must be as long as each other"),
        ((X, X[:4], Y), "all tensors of a batch must be as long"),
        ([{"a": X, "b": X[:4]}], "as long as each other"),
        ([(X, Y), (torch.where(X[3, 1] == X, torch.nan, X), Y)], "x has NaN"),
        ({"a": {"b": X / 0}, "y": Y}, "x/a/b has NaN or infinity"),
        ([(X, Y), "text"], "a batch is str"),
        ([(X, Y), object()], "a batch is object"),
        ([(X, "text")], "targets must be arrays of numbers"),
        ([{"a": X, "b": None}], "b must be arrays of numbers"),
        ([{"a": X, "y": {"boxes": X}}], "targets must be arrays of numbers"),
        ([(X, Y), {"x": X, "y": Y}], "batch 1 holds"),
        ([{"x": X, "y": Y}, {"x": X}], "batch 1 holds x, the first holds x, y"),
        ([(X[0], 1), (X[1], 2)], "y is a single number"),
        ([(X * 1j, Y)], "complex"),
        ((X.to_sparse(), Y), "sparse"),
        (Pairs(lambda x, y: 1 / 0), "ZeroDivisionError"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_line(value: Any, part: str) -> None:
    with pytest.raises(InputError) as caught:
        read_batches(value, "--data mine")
    message = str(caught.value)
    assert part in message, message
    assert message.startswith("--data mine: ")
    assert "\n" not in message


def test_what_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield X, Y

    assert len(read_batches(endless(), "--data mine", examples=25)[0]) == 33
    for name, limit in (("MOST_BATCHES", 50), ("MOST_BYTES", 10_000)):
        with monkeypatch.context() as patched:
            patched.setattr(reading, name, limit)
            with pytest.raises(InputError, match=r"no end after .* `examples=N`"):
                read_batches(endless(), "--data mine")
            assert len(read_batches([(X, Y)] * 60, "--data mine")[0]) == 660  # knows its length
