"""One tab's network: what it learns, what moving it does, and that it is what the command measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import probes
from analysis import step_limits
from probes.errors import InputError
from probes.playground.readings import limits, readings
from probes.playground.session import Perturbation, Session
from probes.playground.setup import RULES, Setup
from tests.conftest import Probe
from trust.distance import deep_relative_trust


@pytest.fixture(scope="module")
def learned() -> Session:
    session = Session(Setup(depth=3, width=6))
    session.train(150)
    return session


def weights(session: Session) -> list[list[float]]:
    return [tensor.flatten().tolist() for tensor in session.network.parameters()]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns(rule: str) -> None:
    session = Session(Setup(depth=3, rule=rule, data="blobs", lr=1.0 if rule == "measured-limit" else 0.03))
    before, _ = session.loss_and_accuracy()
    session.train(60)
    after, accuracy = session.loss_and_accuracy()
    assert after < 0.7 * before
    assert accuracy > 0.9
    assert session.steps == 60


def test_a_setup_and_its_steps_are_a_state() -> None:
    one, two = Session(Setup(seed=3)), Session(Setup(seed=3))
    one.train(30)
    for _ in range(30):
        two.train(1)
    assert weights(one) == weights(two)
    assert weights(one) != weights(Session(Setup(seed=4)))
    state = torch.random.get_rng_state()
    Session()
    assert torch.equal(state, torch.random.get_rng_state())


def test_every_layer_moves_by_its_share_of_its_norm(learned: Session) -> None:
    for direction in ("random", "gradient"):
        moved = learned.moved(Perturbation([10.0, 0.0, 50.0], direction))
        for name, tensor in learned.network.named_parameters():
            share = {"0": 0.1, "1": 0.0, "2": 0.5}[name.split(".")[1]]
            distance = float((moved[name] - tensor.detach()).norm())
            # of one addition in float32, whose rounding is 6e-8 of the sum's norm, below 1.5 ‖W‖
            assert distance == pytest.approx(share * float(tensor.detach().norm()), rel=1e-5)
    with pytest.raises(InputError, match="3 layers, not 2"):
        learned.moved(Perturbation([1.0, 1.0]))


def test_readings_are_those_of_the_two_networks(learned: Session) -> None:
    moved = learned.moved(Perturbation([5.0, 20.0, 10.0], "random", 7))
    found = readings(learned, moved)
    other = learned.perturbed(moved)
    with torch.no_grad():
        before, after = learned.network(learned.x), other(learned.x)
    loss = [float((outputs - learned.side).square().mean()) for outputs in (before, after)]
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    gradients = []
    for network in (learned.network, other):
        network.zero_grad()
        (network(learned.x) - learned.side).square().mean().backward()
        gradients.append([layer.weight.grad.clone() for layer in network.layers])
        network.zero_grad()
    broken = [float((b - a).norm() / a.norm()) for a, b in zip(*gradients, strict=True)]
    assert found["breakdown"] == pytest.approx(broken, rel=1e-3)
    assert found["relative"] == pytest.approx([0.05, 0.2, 0.1], rel=1e-4)
    assert found["trust"] == pytest.approx(float(deep_relative_trust([0.05, 0.2, 0.1])), rel=1e-4)
    assert all(found["evidence"])
    median, worst = found["output_change"]
    assert 0 < median <= worst
    held = [row for row in found["bounds"] if row["premises_hold"]]
    assert held
    for row in held:  # a theorem: float32's rounding of both sides is far below a percent
        assert 10 ** row["log10"] >= 0.99 * worst


def test_step_limits_are_those_of_the_command(learned: Session, probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "network.safetensors").write_bytes(learned.checkpoint())
    (tmp_path / "points.npz").write_bytes(learned.data_file())
    given = ["--data", tmp_path / "points.npz", "--etas", "0.0001,0.001,0.01,0.1", "--loss", "mse"]
    result = probe("run", tmp_path / "network.safetensors", *given, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    expected = step_limits(probes.load(tmp_path / "out")).isel(checkpoint=0)
    found = limits(learned)
    # searches in float32 end anywhere within their tolerance, which is far below this
    assert found["measured"] == pytest.approx(float(expected["measured"]), rel=0.02)
    assert found["predicted"] == pytest.approx(float(expected["predicted"]), rel=0.02)
    assert found["Lemma 2"] == pytest.approx(float(expected["lemma2"]), rel=1e-6)


def test_a_network_is_saved_and_loaded_and_goes_on(learned: Session) -> None:
    again = learned.load(learned.checkpoint())
    assert weights(again) == weights(learned)
    assert again.steps == 0
    again.train(1)
    assert Session().load(learned.checkpoint()).setup.depth == 3


def test_a_small_checkpoint_of_the_command_is_loaded(learned: Session, probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "points.npz").write_bytes(learned.data_file())
    given = [
        "--depth",
        2,
        "--width",
        5,
        "--activation",
        "tanh",
        "--epochs",
        1,
        "--checkpoints",
        1,
        "--loss",
        "mse",
    ]
    result = probe("train", "--data", tmp_path / "points.npz", *given, "--out", tmp_path / "net")
    assert result.exit_code == 0, result.output
    (file,) = sorted((tmp_path / "net").glob("*.safetensors"))[-1:]
    assert learned.load(file.read_bytes()).setup.width == 5


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04", b"\x80\x02c"])
def test_what_is_no_checkpoint_is_refused_without_its_path(learned: Session, content: bytes) -> None:
    with pytest.raises(InputError) as error:
        learned.load(content)
    assert "/" not in str(error.value).replace("loaded-checkpoint", "")


def test_a_network_of_other_sizes_is_refused(learned: Session, trained: Path) -> None:
    with pytest.raises(InputError, match="2 inputs"):
        learned.load(next(trained.glob("*.safetensors")).read_bytes())


def test_weights_that_are_no_numbers_end_the_training() -> None:
    session = Session(Setup(rule="sgd", lr=10.0, activation="identity", depth=6))
    with pytest.raises(InputError, match="no numbers any more"):
        session.train(400)


def test_maps_are_what_the_network_says(learned: Session) -> None:
    seen = learned.boundary()
    assert seen.shape == (100, 100)
    places = np.linspace(-1.2, 1.2, 100)
    for row, column in ((0, 0), (50, 50), (99, 30)):
        point = torch.tensor([[places[column], places[99 - row]]], dtype=torch.float32)
        output = float(learned.network(point).detach())
        assert int(seen[row, column]) == pytest.approx(127.5 * (1 + max(-1, min(1, output / 1.5))), abs=1)
    neurons = learned.neurons()
    assert [layer.shape for layer in neurons] == [(6, 24, 24), (6, 24, 24)]
    assert not learned.network._forward_pre_hooks
    assert not any(layer._forward_pre_hooks for layer in learned.network.layers)
