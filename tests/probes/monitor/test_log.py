"""Logs as files: whole lines after a crash, continued trainings, other sinks, and files that no monitor wrote."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import probes
import probes.monitor.log as log_module
from probes import InputError, Monitor
from tests.probes.monitor.trainings import make, make_data, train

HEADER = '{"step": 0, "monitor": "one", "held": "none", "clock": "processor"}\n'


def update(step: int, value: float | None = 0.5, name: str = "a.weight", **more: Any) -> str:
    return (
        json.dumps(
            {
                "step": step,
                "relative_update": {name: value},
                "deep_relative_trust": value,
                "monitor_cost": 0.1,
            }
            | more
        )
        + "\n"
    )


def test_what_a_killed_training_logged_is_whole(tmp_path: Path) -> None:
    code = f"""
import os, signal, torch, probes
network = torch.nn.Linear(3, 3)
monitor = probes.Monitor(network, log={str(tmp_path / "log.jsonl")!r}, updates_every=1)
for step in range(5):
    with torch.no_grad():
        network.weight.mul_(0.5)
    monitor.step()
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    found = probes.read_log(tmp_path / "log.jsonl")
    assert found["relative_update"].values.ravel().tolist() == [0.5] * 5
    assert found.attrs["closed"] == ""


def test_half_a_line_is_not_read_and_cut_off_by_who_continues(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(HEADER + update(1) + update(2)[:-9])
    assert probes.read_log(path)["step"].values.tolist() == [1]
    Monitor(nn.Linear(2, 2), log=path).close()
    assert path.read_text().startswith(HEADER + update(1) + '{"step": 0, "monitor"')
    assert probes.read_log(path)["step"].values.tolist() == [1]
    path.write_text("half")
    Monitor(nn.Linear(2, 2), log=path).close()
    assert path.read_text().startswith('{"step": 0, "monitor"')


def test_a_training_continued_from_an_earlier_step_replaces_what_came_after(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(HEADER + "".join(map(update, (1, 2, 3, 4))) + HEADER + update(3, 0.25))
    found = probes.read_log(path)
    assert found["step"].values.tolist() == [1, 2, 3]
    assert found["deep_relative_trust"].values.tolist() == [0.5, 0.5, 0.25]
    network = make()
    monitor = Monitor(network, log=path, updates_every=1)
    numbers = iter((2, 3))
    train(network, 2, lambda: monitor.step(next(numbers)))
    assert probes.read_log(path)["step"].values.tolist() == [1, 2, 3]
    assert probes.read_log(path)["deep_relative_trust"].values[1] < 0.25


def test_of_many_records_every_second_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(HEADER + "".join(update(step) for step in range(1, 101)))
    monkeypatch.setattr(log_module, "_MOST_RECORDS", 10)
    assert probes.read_log(path)["step"].values.tolist() == [*range(1, 100, 16), 100]
    monkeypatch.undo()
    monkeypatch.setattr(log_module, "_MOST_NUMBERS", 20)
    assert probes.read_log(path)["step"].values.tolist() == [*range(1, 100, 8), 100]


class Board:
    """A SummaryWriter, as far as it is called."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float, int]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.seen.append((name, value, step))


class Run:
    """A Weights & Biases run, likewise."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, float], int]] = []

    def log(self, numbers: dict[str, float], *, step: int) -> None:
        self.seen.append((numbers, step))


def test_every_sink_gets_the_same_numbers(tmp_path: Path) -> None:
    network, board, run = make(), Board(), Run()
    sinks = [tmp_path / "log.jsonl", board, run]
    with Monitor(network, log=sinks, held=make_data(), every=2, updates_every=2) as monitor:
        train(network, 2, monitor.step)
    found = probes.read_log(tmp_path / "log.jsonl")
    numbers = {name: value for name, value, step in board.seen if step == 2}
    assert {name for _, _, step in board.seen for name in [step]} == {2}
    logged = {name: value for part, step in run.seen for name, value in part.items() if step == 2}
    for told in (numbers, logged):
        assert (
            told["relative_update/layers.0.weight"]
            == found["relative_update"].sel(layer="layers.0.weight").item()
        )
        assert told["deep_relative_trust"] == found["deep_relative_trust"].item()
        assert told["limits/measured"] == found["measured"].item()
        assert all(type(value) is float for value in told.values())


def test_a_sink_that_fails_gets_no_more_and_the_others_go_on(tmp_path: Path) -> None:
    class Full(Run):
        def log(self, numbers: dict[str, float], *, step: int) -> None:
            raise OSError("no space left")

    network = make()
    monitor = Monitor(network, log=[Full(), tmp_path / "log.jsonl"], updates_every=1)
    with pytest.warns(RuntimeWarning, match="no more records in .*OSError: no space left") as warned:
        train(network, 3, monitor.step)
    assert len(warned) == 1
    assert probes.read_log(tmp_path / "log.jsonl").sizes["step"] == 3


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "not JSON\n",
        "[1]\n",
        "[" * 100_000 + "\n",
        '{"step": 0}\n',
        '{"step": 0, "monitor": 3}\n',
        '{"step": -1, "monitor": "one"}\n',
        '{"step": 1e9999, "monitor": "one"}\n',
        HEADER + "x" * 20 + "\n",
        HEADER + '{"step": true, "relative_update": {}, "deep_relative_trust": 0}\n',
        HEADER + '{"step": 1, "relative_update": [], "deep_relative_trust": 0}\n',
        HEADER + '{"step": 1, "relative_update": {"a": "1"}, "deep_relative_trust": 0}\n',
        HEADER + '{"step": 1, "relative_update": {"a": 1}}\n',
        HEADER + '{"step": 1, "limits": 7}\n',
        HEADER + '{"step": 1, "limits": {"measured": [1]}}\n',
        HEADER + '{"step": 1, "monitor_cost": "much"}\n',
        HEADER + '{"step": 1, "words": 1}\n',
        HEADER + '{"step": 1, "failed": {}}\n',
        HEADER + update(1, name="a" * 5000),
    ],
)
def test_what_no_monitor_wrote_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=r"log\.jsonl: (line \d+ is none|is empty)"):
        probes.read_log(path)


def test_a_line_without_end_is_refused_and_so_are_too_many_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"
    monkeypatch.setattr(log_module, "_LONGEST", 200)
    path.write_text(HEADER + "x" * 201)
    with pytest.raises(InputError, match="line 2 is none"):
        probes.read_log(path)
    monkeypatch.setattr(log_module, "_MOST_LAYERS", 3)
    path.write_text(HEADER + "".join(update(step, name=f"{step}") for step in range(1, 5)))
    with pytest.raises(InputError, match="line 5 is none"):
        probes.read_log(path)
    with pytest.raises(InputError, match="cannot be read"):
        probes.read_log(tmp_path)


def test_names_of_layers_are_text_that_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(HEADER + update(1, name="\x1b[31mred") + update(2, None, words={"a.weight": "infinite"}))
    found = probes.read_log(path)
    assert found["layer"].values.tolist() == ["\\x1b[31mred", "a.weight"]
    assert found["relative_update"].values[1, 1] == math.inf


def test_no_network_means_no_line_but_the_header(tmp_path: Path) -> None:
    with Monitor(nn.ReLU(), log=tmp_path / "new" / "log.jsonl", updates_every=1) as monitor:
        monitor.step()
    found = probes.read_log(tmp_path / "new" / "log.jsonl")
    assert found["deep_relative_trust"].values.tolist() == [0.0]
    assert found.sizes["layer"] == 0
