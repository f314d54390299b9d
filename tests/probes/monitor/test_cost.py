"""What monitoring may cost: a budget that holds, by a clock that only the test moves."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from probes.monitor.cost import Cadence, Cost
from probes.monitor.monitor import Monitor
from probes.monitor.updates import Updates
from tests.probes.monitor.trainings import Time, make, make_data

CPU = torch.device("cpu")


def test_each_kind_waits_until_its_share_has_come_in() -> None:
    time = Time()
    cost, cadence = Cost(CPU, time), Cadence(None, 0.1, kind="records")
    cost.begin()
    cadence.expected = 2.0
    made = []
    for step in range(1, 101):
        time.now += 1.0  # of training
        if cadence.due(step, cost):
            with cost.counted(cadence):
                time.now += 2.0
            cadence.made(step)
            made.append(step)
    assert made == [20, 40, 60, 80, 100]  # 2 s for every 20
    assert cost.share == pytest.approx(0.1)
    assert cost.training == pytest.approx(100.0)


def test_records_thin_out_as_a_training_gets_long() -> None:
    cost, cadence = Cost(CPU, Time()), Cadence(None, 0.1, kind="records")
    made = []
    for step in range(1, 20_001):
        if cadence.due(step, cost):
            cadence.made(step)
            made.append(step)
    assert made[:1999] == list(range(1, 2000))
    assert all(after - before == before // 1000 for before, after in itertools.pairwise(made[1999:]))


def test_a_number_of_steps_is_kept_whatever_it_costs() -> None:
    time = Time()
    cost, cadence = Cost(CPU, time), Cadence(7, 0.1, kind="records")
    cost.begin()
    with cost.counted(cadence):
        time.now += 1e6
    assert [step for step in range(1, 30) if cadence.due(step, cost)] == [7, 14, 21, 28]


def test_what_came_before_the_first_step_is_counted_apart() -> None:
    time = Time()
    cost = Cost(CPU, time)
    with cost.counted():
        time.now += 3.0
    assert (cost.setup, cost.spent, cost.share) == (3.0, 0.0, None)
    time.now += 5.0
    cost.begin()
    time.now += 8.0
    with cost.counted():
        time.now += 2.0
    assert (cost.setup, cost.spent, cost.training, cost.share) == (3.0, 2.0, 8.0, 0.25)


def test_the_processor_is_asked_on_a_cpu_and_the_wall_elsewhere() -> None:
    assert Cost(CPU).clock == "processor"
    assert Cost(torch.device("cuda")).clock == "wall"


class Slow:
    """Makes copies, comparisons and limits of a monitor take so many seconds each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, time: Time, seconds: float, limits: float) -> None:
        def slowly(do: Any, by: float) -> Any:
            def done(*arguments: Any, **named: Any) -> Any:
                time.now += by
                return do(*arguments, **named)

            return done

        module = "probes.monitor.monitor"
        monkeypatch.setattr(Updates, "keep", slowly(Updates.keep, seconds))
        monkeypatch.setattr(Updates, "since", slowly(Updates.since, seconds))
        monkeypatch.setattr(f"{module}.measure_slice", slowly(lambda *_, **__: None, limits / 5))
        monkeypatch.setattr(Monitor, "_limits", slowly(lambda *_: {"measured": 0.1}, limits))


def test_the_budget_holds_with_and_without_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for held in (None, make_data()):
        time = Time()
        Slow(monkeypatch, time, 0.5, 10.0)
        monkeypatch.setattr("probes.monitor.monitor._SEEN", 1.0)  # the clock sees it all
        log = tmp_path / f"{held is None}.jsonl"
        monitor = Monitor(make(), log=log, held=held, budget=0.05, clock=time)
        for _ in range(2000):
            time.now += 1.0
            monitor.step()
        assert monitor.cost is not None
        assert 0.04 < monitor.cost <= 0.05
        said = monitor.close()
        lines = [json.loads(line) for line in log.open()]
        updates = [line["step"] for line in lines if "relative_update" in line]
        limits = [line["step"] for line in lines if "limits" in line]
        apart = 20 if held is None else 40  # of a second each, of half the budget with limits
        assert updates == [2, *range(2 + 2 * apart, 2001, apart)]  # the first at once, and paid back
        assert limits == ([] if held is None else [401, 801, 1201, 1601])
        assert lines[-1] == {"step": 2000, "closed": said, "monitor_cost": pytest.approx(monitor.cost)}
        assert f"{len(updates)} records of relative updates and {len(limits)} of step limits in 2000" in said
        monkeypatch.undo()


def test_by_default_there_is_room_for_what_no_clock_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time()
    Slow(monkeypatch, time, 0.5, 0.0)
    monitor = Monitor(make(), log=tmp_path / "log.jsonl", clock=time)
    for _ in range(2000):
        time.now += 1.0
        monitor.step()
    assert monitor.cost is not None
    assert 0.034 < monitor.cost <= 0.7 * 0.05


def test_the_cost_is_said_in_each_record(tmp_path: Path) -> None:
    time = Time()
    monitor = Monitor(nn.Linear(2, 2), log=tmp_path / "log.jsonl", updates_every=1, clock=time)
    monitor.step()
    time.now += 1
    monitor.step()
    costs = [json.loads(line).get("monitor_cost") for line in (tmp_path / "log.jsonl").open()]
    assert costs == [None, None, 0.0]
