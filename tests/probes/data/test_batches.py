"""Every form of data gives what a plain loop over its examples gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from analysis.verdicts import Status, judge
from probes import InputError, SliceSettings, measure_slice
from probes.data import loaders as reading
from probes.data.batches import Batch, Batches, outputs_of
from probes.data.loaders import read_batches
from probes.data.losses import resolve_loss
from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import Evaluator
from probes.measures.adversarial import Ascent, find_worst

EXACT = torch.float64
DRAW = torch.Generator().manual_seed(1)
X = torch.randn(11, 3, dtype=EXACT, generator=DRAW)
Y = torch.randint(0, 4, (11,), generator=DRAW)
LENGTHS = (5, 3, 5, 5, 2, 4, 4)
SENTENCES = [torch.randint(0, 6, (length,), generator=DRAW) for length in LENGTHS]


class Language(nn.Module):
    """A causal language model of words' running means, which returns what Hugging Face's do."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.hidden = nn.Linear(4, 5)
        self.head = nn.Linear(5, 6)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SimpleNamespace:
        words = self.embedding(input_ids)
        if attention_mask is not None:
            words = words * attention_mask[..., None]
        count = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)[:, None]
        return SimpleNamespace(logits=self.head(torch.tanh(self.hidden(words.cumsum(1) / count))))


class Pair(nn.Module):
    """Two inputs, and outputs in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(2, 4)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, str]:
        return torch.tanh(self.left(a)) * self.right(b), "more"


def made(kind: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().double()


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))


def by_loop(network: nn.Module, losses: Iterator[Tensor]) -> tuple[float, dict[str, Tensor]]:
    """The mean of examples' losses, and its gradients, one example at a time."""
    every = list(losses)
    mean = torch.stack(every).sum() / len(every)
    names = [name for name, _ in network.named_parameters()]
    found = torch.autograd.grad(mean, list(network.parameters()))
    return float(mean.detach()), dict(zip(names, found, strict=True))


def agrees(network: nn.Module, data: Any, loss: str, losses: Iterator[Tensor], **settings: Any) -> Evaluator:
    """Assert that the data's loss, gradients and curvature are those of a plain loop."""
    batches = data if isinstance(data, Batches) else read_batches(data, "--data mine")[0]
    evaluator = Evaluator(
        network, batches, None, resolve_loss(loss, batches)[1], dtype=EXACT, **{"chunk": 3, **settings}
    )
    expected, gradients = by_loop(network, losses)
    found = evaluator.evaluate(evaluator.frozen, wanted=list(evaluator.frozen))
    assert found.loss == pytest.approx(expected, rel=1e-10)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found.gradients[name], gradient, rtol=1e-10, atol=1e-13)
    return evaluator


class Pairs(Dataset[Any]):
    """Examples (x, label)."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any] = lambda x, y: (x, int(y))) -> None:
        self.form = form

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, place: int) -> Any:
        return self.form(X[place], Y[place])


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


def language_batches(masked: bool = False) -> list[dict[str, Tensor]]:
    """Two sentences at a time where lengths agree, or all padded to five words."""
    if masked:
        ids = torch.stack([nn.functional.pad(s, (0, 5 - len(s))) for s in SENTENCES])
        mask = torch.stack([(torch.arange(5) < len(s)).long() for s in SENTENCES])
        return [{"input_ids": ids[k : k + 3], "attention_mask": mask[k : k + 3]} for k in (0, 3, 6)]
    groups = ([0], [1], [2, 3], [4], [5, 6])
    return [{"input_ids": torch.stack([SENTENCES[k] for k in group])} for group in groups]


def sentence_losses(network: nn.Module) -> Iterator[Tensor]:
    """Each sentence's mean −log p of the words after the first."""
    for sentence in SENTENCES:
        logits = network(sentence[None]).logits[0]
        yield nn.functional.cross_entropy(logits[:-1], sentence[1:])


@pytest.mark.parametrize("masked", [False, True])
def test_sentences_of_different_lengths_count_the_same(masked: bool) -> None:
    network = made(Language)
    batch = agrees(network, language_batches(masked), "next-token", sentence_losses(network))
    assert len(batch) == len(SENTENCES)
    assert len(batch.data.pieces) == (1 if masked else 5)
    targets = [torch.where(torch.arange(len(s)) == 1, -100, (s + 1) % 6) for s in SENTENCES]
    dataset = [({"input_ids": s[None]}, t[None]) for s, t in zip(SENTENCES, targets, strict=True)]
    losses = (
        nn.functional.cross_entropy(network(s[None]).logits[0], t)
        for s, t in zip(SENTENCES, targets, strict=True)
    )
    agrees(network, dataset, "cross-entropy", losses)


def test_a_slice_through_a_language_model() -> None:
    network = made(Language)
    batches = read_batches(language_batches(), "--data mine")[0]
    etas = np.array([0.0, 1e-4, 2e-4, 0.1])
    settings = SliceSettings(etas, dtype="float64", jacobian=7, samples=7, chunk=2)
    found = measure_slice(network, batches, settings=settings, loss="next-token").isel(checkpoint=0)
    loss, slope = found["loss"].values, found["slope"].values
    assert slope[1] == pytest.approx((loss[2] - loss[0]) / 2e-4, rel=1e-5)
    # the perturbed network again, by hand
    state = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}
    gradients = by_loop(network, sentence_losses(network))[1]
    moved = made(Language)
    moved.load_state_dict(
        {name: w - 0.1 * w.norm() * gradients[name] / gradients[name].norm() for name, w in state.items()}
    )
    assert loss[3] == pytest.approx(by_loop(moved, sentence_losses(moved))[0], rel=1e-10)
    for k, sentence in enumerate(SENTENCES):
        with torch.no_grad():
            before, after = network(sentence[None]).logits, moved(sentence[None]).logits
        change = float((after - before).norm() / before.norm())
        assert float(found["output_change"][3, k]) == pytest.approx(change, rel=1e-9)
        assert float(found["output_norm"][k]) == pytest.approx(float(before.norm()), rel=1e-9)

        def tail(h: Tensor, net: nn.Module = network) -> Tensor:
            logits: Tensor = net.head(torch.tanh(net.hidden(h)))  # type: ignore[operator]
            return logits

        count = torch.arange(1, len(sentence) + 1)[:, None]
        pair = []
        for net in (network, moved):
            h = (net.embedding(sentence).cumsum(0) / count).detach()  # type: ignore[operator]
            pair.append(torch.autograd.functional.jacobian(lambda h, net=net: tail(h, net), h))
        jacobian_change = float((pair[1] - pair[0]).norm() / pair[0].norm())
        at = {"layer": 1, "eta": 3, "example": k}
        assert str(found["layer"].values[1]) == "hidden.weight"
        assert float(found["jacobian_change"][at]) == pytest.approx(jacobian_change, rel=1e-9)
        # the response of a matrix and of its bias, which is added at every word
        h = (network.embedding(sentence).cumsum(0) / count).detach()  # type: ignore[operator]
        tensors = dict(moved.named_parameters())
        weight = (tensors["hidden.weight"] - state["hidden.weight"]).detach()
        bias = (tensors["hidden.bias"] - state["hidden.bias"]).detach()
        assert float(found["perturbation_response"][at]) == pytest.approx(
            float((h @ weight.T).norm()), rel=1e-9
        )
        at["layer"] = 2
        length = float(bias.norm()) * len(sentence) ** 0.5
        assert float(found["perturbation_response"][at]) == pytest.approx(length, rel=1e-9)
    assert np.isnan(found["jacobian_change"].isel(layer=0)).all()  # of tokens there is no derivative
    assert np.isnan(found["input_norm"]).all()
    assert judge(found.expand_dims("checkpoint"))
    assert float(found["noise_floor"].max()) < 1e-12
    worst = find_worst(
        Evaluator(network, batches, None, resolve_loss("next-token", batches)[1], dtype=EXACT, chunk=2),
        list(state),
        0.1,
        ascent=Ascent(examples=7, steps=3, restarts=1),
    )
    assert worst.value > 0


def test_curvature_of_ragged_batches() -> None:
    network = made(Language)
    batches = read_batches(language_batches(), "--data mine")[0]
    evaluator = Evaluator(
        network, batches, None, resolve_loss("next-token", batches)[1], dtype=EXACT, chunk=2
    )
    direction = evaluator.evaluate(evaluator.frozen, wanted=list(evaluator.frozen)).gradients
    h, slopes = 1e-4, []
    for sign in (-1, 1):
        moved = {name: w + sign * h * direction[name] for name, w in evaluator.frozen.items()}
        after = evaluator.evaluate(moved, wanted=list(direction)).gradients
        slopes.append(float(sum((after[name] * direction[name]).sum() for name in direction)))
    assert evaluator.directional_curvature(Direction.of(direction)) == pytest.approx(
        (slopes[1] - slopes[0]) / (2 * h), rel=1e-5
    )


def token_mean(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """A mean over all words of a batch, which is none over its sentences."""
    ids = batch["input_ids"]
    mask = batch.get("attention_mask", torch.ones_like(ids))
    logits = model(**batch).logits[:, :-1]
    losses = nn.functional.cross_entropy(logits.movedim(-1, 1), ids[:, 1:], reduction="none")
    return (losses * mask[:, 1:]).sum() / mask[:, 1:].sum()


def test_a_loss_of_model_and_batch() -> None:
    network, data = made(Language), language_batches(masked=True)
    batches = read_batches(data, "--data mine")[0]
    etas = np.array([0.0, 1e-4, 2e-4])
    settings = SliceSettings(etas, dtype="float64", jacobian=2, chunk=2)
    found = measure_slice(network, batches, settings=settings, loss=token_mean).isel(checkpoint=0)
    weights = [len(batch["input_ids"]) / 7 for batch in data]
    mean = sum(w * token_mean(network, batch) for w, batch in zip(weights, data, strict=True))
    assert isinstance(mean, Tensor)
    assert float(found["loss"][0]) == pytest.approx(float(mean.detach()), rel=1e-10)
    gradients = torch.autograd.grad(mean, list(network.parameters()))
    norms = [float(gradient.norm()) for gradient in gradients]
    np.testing.assert_allclose(found["gradient_norm"][0], norms, rtol=1e-10)
    loss, slope = found["loss"].values, found["slope"].values
    assert slope[1] == pytest.approx((loss[2] - loss[0]) / 2e-4, rel=1e-5)
    assert float(found["noise_floor"].max()) < 1e-12
    assert np.isnan(found["accuracy"]).all()
    for name in ("output_change", "output_noise_floor", "jacobian_change", "perturbation_response"):
        assert name not in found
    verdicts = {v.claim: v for v in judge(found.expand_dims("checkpoint"))}
    for claim in ("theorem1-function", "theorem1-jacobian", "spectral-product", "linearisation-remainder"):
        assert verdicts[claim].status == Status.NOT_MEASURED, claim
        assert "(model, batch)" in verdicts[claim].remark
    assert verdicts["deep-relative-trust"].status != Status.NOT_MEASURED
    settings = SliceSettings(etas, direction="adversarial", ascent_steps=1, restarts=0)
    with pytest.raises(InputError, match="use --objective breakdown"):
        measure_slice(network, batches, settings=settings, loss=token_mean)


def test_a_loss_may_use_all_of_the_model() -> None:
    network = made(plain)

    def decayed(model: nn.Sequential, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        losses = nn.functional.cross_entropy(model[2](model[1](model[0](x))), y, reduction="none")
        return losses + sum((w**2).sum() for w in model.parameters())

    etas = np.array([0.0, 1e-4, 2e-4])
    settings = SliceSettings(etas, dtype="float64", chunk=4)
    found = measure_slice(network, X, Y, settings=settings, loss=decayed).isel(checkpoint=0)
    losses = (decayed(network, (x[None], y[None]))[0] for x, y in zip(X, Y, strict=True))  # type: ignore[arg-type]
    expected, gradients = by_loop(network, losses)
    assert float(found["loss"][0]) == pytest.approx(expected, rel=1e-10)
    norms = [float(gradient.norm()) for gradient in gradients.values()]
    np.testing.assert_allclose(found["gradient_norm"][0], norms, rtol=1e-10)
    slope = (float(found["loss"][2]) - float(found["loss"][0])) / 2e-4
    assert float(found["slope"][1]) == pytest.approx(slope, rel=1e-5)
    for wrong in (lambda model, batch: 3.0, lambda model, batch: torch.zeros(2, 2)):
        with pytest.raises(InputError, match="one number an example"):
            measure_slice(network, X, Y, settings=settings, loss=wrong)
    with pytest.raises(InputError, match="no gradient"):
        measure_slice(
            network, X, Y, settings=settings, loss=lambda model, batch: model(batch[0]).mean().detach()
        )


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


def test_digests_see_form_values_and_borders() -> None:
    ids = torch.arange(12).reshape(4, 3)
    forms = [
        Batches([Batch(ids, Y[:4])]),
        Batches([Batch(ids)]),
        Batches([Batch({"input_ids": ids}, Y[:4], "labels")]),
        Batches([Batch({"input_ids": ids}, Y[:4], "y")]),
        Batches([Batch({"input_id": ids}, Y[:4], "labels")]),
        Batches([Batch({"input_ids": ids.to(torch.int32)}, Y[:4], "labels")]),
        Batches([Batch((ids, ids), Y[:4])]),
        Batches([Batch((ids, ids + 1), Y[:4])]),
        Batches([Batch(ids[:2], Y[:2]), Batch(ids[2:], Y[2:4])], cut=True),
        Batches([Batch(ids[:1], Y[:1]), Batch(ids[1:], Y[1:4])], cut=True),
        Batches([Batch(ids[:2], Y[:2]), Batch(ids[2:, :2], Y[2:4])]),
    ]
    assert len({form.digest() for form in forms}) == len(forms)
    assert Batches([Batch(ids[:2], Y[:2]), Batch(ids[2:], Y[2:4])]).digest() == forms[0].digest()
    assert all(form.digest() == form[:4].flip().flip().digest() for form in forms)


@pytest.mark.parametrize("ragged", [False, True])
def test_cutting_flipping_and_borders(ragged: bool) -> None:
    sizes, widths = (3, 1, 4, 2), (2, 3, 3, 2) if ragged else (2, 2, 2, 2)
    numbers = torch.arange(10).split(list(sizes))
    pieces = [Batch(n[:, None].expand(-1, w), n) for n, w in zip(numbers, widths, strict=True)]
    batches = Batches(pieces, cut=True)

    def labels(data: Batches, **how: Any) -> list[list[int]]:
        found = list(data.chunks(2, **how))
        assert [start for start, _ in found] == [0, *itertools.accumulate(len(b) for _, b in found)][:-1]
        return [batch.targets.tolist() for _, batch in found if batch.targets is not None]

    assert labels(batches, as_given=True) == [n.tolist() for n in numbers]
    assert labels(batches.flip(), as_given=True) == [n.flip(0).tolist() for n in reversed(numbers)]
    assert labels(batches[2:7], as_given=True) == [[2], [3], [4, 5, 6]]
    assert labels(batches[2:7].flip(), as_given=True) == [[6, 5, 4], [3], [2]]
    assert list(itertools.chain(*labels(batches))) == list(range(10))
    assert max(map(len, labels(batches))) == 2
    assert len(batches.pieces) == (3 if ragged else 1)
    assert len(batches[2:7]) == 5
    moved = batches.pieces[0].to("cpu", torch.float32)
    assert moved.targets is not None
    assert moved.targets.dtype == torch.int64
    with pytest.raises(InputError, match="no examples"):
        batches[4:4]


def test_dtypes_stay_where_they_mean_something() -> None:
    def dtype_of(value: Any) -> torch.dtype:
        inputs = read_batches((value, Y), "--data mine")[0].pieces[0].inputs
        assert isinstance(inputs, Tensor)
        return inputs.dtype

    for dtype in (torch.int32, torch.int64, torch.float32, torch.float64):
        assert dtype_of(X.to(dtype)) == dtype
    for dtype in (torch.uint8, torch.bool, torch.int16, torch.float16, torch.bfloat16):
        assert dtype_of(X.to(dtype)) == torch.float32
    beside = {
        "a": X > 0,
        "b": X.to(torch.uint8),
        "c": X.to(torch.int16),
        "d": X.half(),
        "y": Y.to(torch.uint8),
    }
    batch = read_batches(beside, "--data mine")[0].pieces[0]
    found = {name: tensor.dtype for name, tensor in batch.leaves()}
    assert list(found.values()) == [torch.bool, torch.uint8, torch.int64, torch.float32, torch.int64]


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (X, "must return x and y"),
        (3, "must return x and y"),
        ("text", "must return x and y"),
        (None, "must return x and y"),
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
            with pytest.raises(InputError, match=r"no end after .* --examples"):
                read_batches(endless(), "--data mine")
            assert len(read_batches([(X, Y)] * 60, "--data mine")[0]) == 660  # knows its length


@dataclass
class Result:
    """What some networks return."""

    logits: Any


@pytest.mark.parametrize(
    "result",
    [
        X,
        (X, Y),
        [torch.tensor(1.0), X],
        {"loss": torch.tensor(1.0), "out": X},
        {"out": Y, "logits": X},
        Result(X),
        ("text", X),
    ],
)
def test_outputs_in_what_a_network_returns(result: Any) -> None:
    assert outputs_of(result) is X


@pytest.mark.parametrize("result", [None, "text", (), {"loss": torch.tensor(1.0)}, Result(None), 3.0])
def test_networks_without_outputs(result: Any) -> None:
    with pytest.raises(InputError, match="without a tensor of outputs"):
        outputs_of(result)
