"""What the monitor logs: closed forms, the commands' own numbers on saved checkpoints, and no trace on the training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import analysis
import probes
from probes import InputError, Monitor
from tests.conftest import Probe
from tests.probes.monitor.trainings import loss_of, make, make_data, train
from tests.support.traces import picture, subject

EXACT = 1e-6
"""Differences of float32 weights are exact to 2⁻²⁴ in float32 and exact in float64; ten times that for the sums."""


def records(path: Path, name: str) -> dict[int, Any]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def test_shrinking_every_weight_by_a_tenth_is_an_update_of_a_tenth(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with Monitor(network, log=tmp_path / "log.jsonl", updates_every=1) as monitor:
        for _ in range(3):
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.mul_(0.9)
            monitor.step()
    found = probes.read_log(tmp_path / "log.jsonl")
    assert found["layer"].values.tolist() == ["0.weight", "2.weight"]
    assert found["step"].values.tolist() == [1, 2, 3]
    assert found["relative_update"].values == pytest.approx(0.1, rel=EXACT)
    assert found["deep_relative_trust"].values == pytest.approx(1.1**2 - 1, rel=EXACT)


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """A training of six steps with all that it saved and logged."""
    network, data = make(), make_data()
    torch.save({"x": data[0], "y": data[1]}, tmp_path / "data.pt")
    monitor = Monitor(network, log=tmp_path / "log.jsonl", held=data, every=3, updates_every=2)
    saved = iter(range(1, 7))

    def after() -> None:
        monitor.step()
        torch.save(network.state_dict(), tmp_path / f"step-{next(saved)}.pt")

    train(network, 6, after, data=data)
    monitor.close()
    return tmp_path


def test_updates_are_probe_distance_of_what_was_saved_before_and_after(watched: Path, probe: Probe) -> None:
    layers = records(watched / "log.jsonl", "relative_update")
    trust = records(watched / "log.jsonl", "deep_relative_trust")
    assert sorted(layers) == [2, 4, 6]
    for step in layers:
        said = probe("distance", watched / f"step-{step - 1}.pt", watched / f"step-{step}.pt", "--json")
        distance = json.loads(said.stdout)
        assert layers[step] == pytest.approx(
            {one["name"]: one["relative"] for one in distance["layers"]}, rel=EXACT
        )
        assert trust[step] == pytest.approx(distance["distance"], rel=EXACT)
        assert trust[step] > 0


def test_limits_are_probe_limit_of_what_was_saved_then(watched: Path, probe: Probe) -> None:
    logged = records(watched / "log.jsonl", "limits")
    assert sorted(logged) == [3, 6]
    for step, row in logged.items():
        options = ("--activation", "relu", "--data", watched / "data.pt", "--device", "cpu", "--json")
        said = probe("limit", watched / f"step-{step}.pt", *options)
        assert said.exit_code == 0, said.output
        (expected,) = json.loads(said.stdout)
        del expected["checkpoint"]
        assert {name for name in row if row[name] is None} == {
            name for name in expected if expected[name] is None
        }
        known = {name: value for name, value in expected.items() if value is not None}
        assert {name: row[name] for name in known} == pytest.approx(
            known, rel=1e-9
        )  # one code, the same weights
        assert row["measured"] > 0
        assert row["constant"] > 0


def test_the_constant_and_the_limits_are_a_run_s_too(watched: Path) -> None:
    network = make()
    network.load_state_dict(torch.load(watched / "step-6.pt", weights_only=True))
    limits = analysis.step_limits(probes.measure_slice(network, *make_data()))
    row = records(watched / "log.jsonl", "limits")[6]
    for name in ("constant", "predicted", "lemma2", "cos_theta"):  # read off at the same η, whatever the grid
        assert row[name] == pytest.approx(limits[name].item(), rel=1e-9), name
    assert row["measured"] == pytest.approx(limits["measured"].item(), rel=0.02)  # two searches, to 1 % each


def test_it_leaves_no_trace(tmp_path: Path) -> None:
    network, data = subject(), make_data()
    before = picture(network)
    with Monitor(network, log=tmp_path / "log.jsonl", held=data, every=1, updates_every=1) as monitor:
        assert picture(network) == before
        for _ in range(2):
            monitor.step()
            assert picture(network) == before
    assert picture(network) == before
    assert sorted(records(tmp_path / "log.jsonl", "limits")) == [1, 2]


def test_a_training_goes_as_it_would_have_gone(tmp_path: Path) -> None:
    class Dropping(nn.Sequential):
        """Draws random numbers in training."""

    def trained(monitored: bool) -> dict[str, Any]:
        torch.manual_seed(0)
        network = Dropping(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))
        if not monitored:
            train(network, 5, lambda: None)
            return picture(network)
        with Monitor(
            network, log=tmp_path / "log.jsonl", held=make_data(), every=1, updates_every=1
        ) as monitor:
            train(network, 5, monitor.step)
        return picture(network)

    plain, monitored = trained(False), trained(True)
    for one in (plain, monitored):
        del one["identity"]
        one["tensors"] = {name: value for name, (_, value) in one["tensors"].items()}
    assert plain == monitored


def test_shared_frozen_added_and_replaced_tensors(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    network[2].weight.requires_grad_(False)
    monitor = Monitor(network, log=tmp_path / "log.jsonl", updates_every=1)

    def shrink() -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.requires_grad:
                    parameter.mul_(0.5)
        monitor.step()

    shrink()
    network.append(nn.Linear(3, 5))
    shrink()
    shrink()
    network[0].weight = nn.Parameter(torch.ones(2, 3))
    shrink()
    layers = records(tmp_path / "log.jsonl", "relative_update")
    trust = records(tmp_path / "log.jsonl", "deep_relative_trust")
    assert layers[1] == {"0.weight": 0.5}
    assert trust[1] == pytest.approx(1.5**2 - 1)  # a tensor of two names counts twice, as in a checkpoint
    assert layers[2] == {"0.weight": 0.5}  # what was not there before has not moved
    assert layers[3] == {"0.weight": 0.5, "3.weight": 0.5}
    assert set(layers[4]) == {"1.weight", "3.weight"} - {"1.weight"}  # the other name is a new tensor now


def test_numbers_that_are_none_are_null_and_a_word(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.zero_()
    monitor = Monitor(network, log=tmp_path / "log.jsonl", updates_every=1)
    with torch.no_grad():
        network[0].weight.fill_(1)
    monitor.step()
    with torch.no_grad():
        network[1].weight.fill_(math.nan)
    monitor.step()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "log.jsonl").open()]
    assert lines[1]["relative_update"] == {"0.weight": None, "1.weight": 0.0}
    assert lines[1]["words"] == {"0.weight": "infinite", "deep_relative_trust": "infinite"}
    assert lines[2]["words"] == {"1.weight": "not a number", "deep_relative_trust": "not a number"}
    found = probes.read_log(tmp_path / "log.jsonl")["relative_update"].values
    assert found[0].tolist() == [math.inf, 0.0]
    assert found[1, 0] == 0.0
    assert math.isnan(found[1, 1])


def test_a_training_that_breaks_is_logged_to_its_end(tmp_path: Path) -> None:
    network, data = make(), make_data()
    with Monitor(network, log=tmp_path / "log.jsonl", held=data, every=1, updates_every=1) as monitor:
        train(network, 2, monitor.step)
        with torch.no_grad():
            network.layers[0].weight.fill_(math.nan)
        monitor.step()
    assert records(tmp_path / "log.jsonl", "limits")[3]["measured"] is None
    assert records(tmp_path / "log.jsonl", "deep_relative_trust")[3] is None


def test_what_fails_is_said_and_ends_its_own_records_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, data = make(), make_data()
    monitor = Monitor(network, log=tmp_path / "log.jsonl", held=data, every=1, updates_every=1)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("planted\nfault")

    monkeypatch.setattr("probes.monitor.monitor.measure_network_limits", broken)
    with pytest.warns(
        RuntimeWarning, match="at step 1: no more step limits: RuntimeError: planted fault"
    ) as warned:
        train(network, 3, monitor.step)
    assert len(warned) == 1
    monitor.close()
    found = probes.read_log(tmp_path / "log.jsonl")
    assert found.attrs["failed"] == "no more step limits: RuntimeError: planted fault"
    assert found["step"].values.tolist() == [1, 2, 3]
    assert found.sizes["limit_step"] == 0


def test_inside_whatever_a_step_stands_in(tmp_path: Path) -> None:
    def limits(name: str, *around: Any) -> Any:
        network = make()
        monitor = Monitor(network, log=tmp_path / name, held=make_data(), every=1)
        autocast = torch.autocast("cpu", torch.bfloat16, enabled="autocast" in around)
        with autocast, torch.set_grad_enabled("no grad" not in around):
            monitor.step()
        monitor.close()
        return records(tmp_path / name, "limits")

    assert limits("plain") == limits("around", "autocast", "no grad")


def test_wrappers_are_looked_through(tmp_path: Path) -> None:
    network = make()
    wrapped = torch.compile(nn.DataParallel(network), backend="eager")
    with Monitor(wrapped, log=tmp_path / "log.jsonl", held=make_data(), every=1, updates_every=1) as monitor:
        train(network, 1, monitor.step)
    assert probes.read_log(tmp_path / "log.jsonl")["layer"].values.tolist() == [
        f"layers.{k}.weight" for k in range(3)
    ]


def test_mixed_precision_and_accumulated_gradients(tmp_path: Path) -> None:
    network, (x, y) = make(), make_data(40)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    with Monitor(network, log=tmp_path / "log.jsonl", held=(x, y), every=2, updates_every=1) as monitor:
        for _ in range(2):
            for part in range(2):
                rows = slice(20 * part, 20 * part + 20)
                with torch.autocast("cpu", torch.bfloat16):
                    loss = loss_of(network, x[rows], y[rows]) / 2
                scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            monitor.step()
    found = probes.read_log(tmp_path / "log.jsonl")
    assert found["step"].values.tolist() == [1, 2]
    assert (found["relative_update"] > 0).all()
    assert found["measured"].values.item() > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"budget": 0.0}, r"`budget=0.0`: must be a share"),
        ({"every": 0}, r"`every=0`: must be at least 1"),
        ({"every": 5}, r"`every=5`: is of the step limits; give `held`"),
        ({"updates_every": -1}, r"`updates_every=-1`: must be at least 1"),
        ({"log": 3}, r"`log`: is a int; give a file's name"),
        ({"held": (torch.zeros(5, 9), torch.zeros(5, dtype=torch.long))}, "9"),
    ],
)
def test_what_cannot_be_used_is_said_before_the_training(
    tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        Monitor(make(), **{"log": tmp_path / "log.jsonl", **arguments})


def test_sharded_parameters_are_refused(tmp_path: Path) -> None:
    class FullyShardedDataParallel(nn.Sequential):
        """Of the name of torch's."""

    with pytest.raises(InputError, match="spread over processes"):
        Monitor(FullyShardedDataParallel(nn.Linear(2, 2)), log=tmp_path / "log.jsonl")
    with pytest.raises(InputError, match="not a torch module"):
        Monitor("network", log=tmp_path / "log.jsonl")  # type: ignore[arg-type]
