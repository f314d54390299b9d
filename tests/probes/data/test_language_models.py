"""Sentences of different lengths, through a language model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.verdicts import judge
from probes import SliceSettings, measure_slice
from probes.data.loaders import read_batches
from probes.data.losses import resolve_loss
from probes.evaluation.curvature import directional_curvature
from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import Evaluator
from probes.measures.adversarial import Ascent, find_worst
from tests.probes.data.examples import (
    EXACT,
    SENTENCES,
    Language,
    agrees,
    by_loop,
    language_batches,
    made,
    sentence_losses,
)


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
    assert directional_curvature(evaluator, Direction.of(direction)) == pytest.approx(
        (slopes[1] - slopes[0]) / (2 * h), rel=1e-5
    )
