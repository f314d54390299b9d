"""Several processes measure what one measures: sums over any parts of the examples, and one decision for all."""

from __future__ import annotations

import json
import multiprocessing
import socket
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed import HashStore, TCPStore
from torch.multiprocessing.spawn import start_processes

import probes
from probes import InputError
from probes.runs.run import measure_run
from probes.system import failures, processes
from probes.system.processes import ALONE, Share, from_environment
from tests.support.shared_work import CASES, RUN, Arrays, work, write_run

SIZE = 3
RTOL = 1e-10
"""In float64 each number is a sum over at most 20 examples in another order, so the relative error of its terms is at
most 20 · 2^-53 = 2e-15; a difference that is 1e-2 (the smallest eta) of what it is taken of loses a factor 100, and
sums that cancel, in curvatures and in the slope, some 100 more."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three processes wrote that did everything together."""
    folder = tmp_path_factory.mktemp("shared")
    write_run(folder)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    multiprocessing.set_forkserver_preload(["tests.support.shared_work"])  # imports once, not once a process
    arguments = (SIZE, store.port, folder)
    start_processes(work, args=arguments, nprocs=SIZE, start_method="forkserver")
    return folder


@pytest.fixture(scope="module")
def arrays(folder: Path) -> list[Arrays]:
    """Every process's results."""
    found = []
    for rank in range(SIZE):
        with np.load(folder / f"{rank}.npz") as file:
            found.append(dict(file))
    return found


@pytest.fixture(scope="module")
def documents(folder: Path) -> list[dict[str, Any]]:
    """Every process's lines."""
    return [json.loads((folder / f"{rank}.json").read_text("utf-8")) for rank in range(SIZE)]


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_are_those_of_one_process(arrays: list[Arrays], case: str) -> None:
    expected = CASES[case](ALONE)
    for found in arrays:
        assert {name.removeprefix(f"{case}/") for name in found if name.startswith(f"{case}/")} == set(
            expected
        )
        for name, value in expected.items():
            scale = np.abs(value, where=np.isfinite(value), out=np.zeros(np.shape(value))).max(initial=0)
            # what rounding did is another rounding's here
            rtol, atol = (0.0, 1e-12) if name == "gradient_change_error" else (RTOL, 1e-13 * scale)
            np.testing.assert_allclose(found[f"{case}/{name}"], value, rtol=rtol, atol=atol, err_msg=name)


def test_all_processes_have_the_same_numbers_to_the_last_bit(arrays: list[Arrays]) -> None:
    for name in arrays[0]:
        if not name.startswith("told/"):
            for other in arrays[1:]:
                np.testing.assert_array_equal(other[name], arrays[0][name], err_msg=name)


def test_the_cases_are_no_empty_ones(arrays: list[Arrays]) -> None:
    found = arrays[0]
    assert np.isnan(found["no second derivative/curvature"])
    assert found["no second derivative/loss"] > 0
    assert found["uneven/outputs"].shape == (9, 3)  # of the first process's six examples, and the second's
    assert found["lengths/outputs"].shape == (6, 5 * 6)
    assert 0 < found["lengths/accuracy"] < 1
    assert np.isnan(found["own batches/accuracy"])
    assert found["slice/step_limit"] > 0


def test_what_they_tell_each_other(arrays: list[Arrays]) -> None:
    for rank, found in enumerate(arrays):
        told = {
            name.removeprefix("told/"): value for name, value in found.items() if name.startswith("told/")
        }
        # 1 + 2 + 3 six times; 0 + 1 + 2 four times; 1 + 2 + 4; (0 + 1/2 + 1) for each of the many; nothing
        assert told["sums"].tolist() == [36, 12, 7, 1.5 * (2**18 + 1), 0]
        assert told["rows"].tolist() == [[1, 1, 0], [2, 2, 2], [2, 2, 2]]
        assert told["none"].shape == (0, 0)
        assert told["same"] == 5
        assert told["led"] == 5  # the first process's search of its own function, which is the identity
        assert told["led calls"].tolist() == [2, 3]
        assert told["copied"].tolist() == [[0, 0], [0, 0]]
        assert told["first"] == 7
        assert told["together"] == rank
    assert [found["told/part"].tolist() for found in arrays] == [[0, 2, 0], [2, 4, 0], [4, 7, 1]]


def test_what_one_cannot_use_ends_all_with_its_line(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        assert document["refused"]["first"] == "process 0 cannot use it"
        assert document["refused"]["together"] == "process 2 cannot use it"
        assert document["refused"]["agree"] == "the processes do not have the same data; give others"
        assert "`shard='checkpoints'`" in document["refused"]["batch statistics"]
        assert document["status"] == 2
    said = [line for document in documents for line in document["lines"]]
    assert said == ["process 1 cannot use it"]


def test_whole_checkpoints_are_measured_as_by_one_process(
    tmp_path: Path, folder: Path, documents: list[dict[str, Any]]
) -> None:
    names = [f"{index:04d}.nc" for index in range(4)]
    # every process went on only when all were done
    assert [document["written"] for document in documents] == [names] * SIZE
    (tmp_path / "source").mkdir()
    measure_run(write_run(tmp_path / "source"), tmp_path / "alone", settings=RUN)
    found, expected = probes.load(folder / "apart"), probes.load(tmp_path / "alone")
    assert found["checkpoint"].values.tolist() == expected["checkpoint"].values.tolist()
    assert found.attrs["processes"] == 1
    for name, array in expected.data_vars.items():
        np.testing.assert_array_equal(found[name], array, err_msg=str(name))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
def test_parts_are_neighbours_and_leave_nothing_out(count: int) -> None:
    parts = [Share(rank, 3).part(count) for rank in range(3)]
    assert [place for part in parts for place in range(count)[part]] == list(range(count))
    assert max(part.stop - part.start for part in parts) <= count // 3 + 1


def test_alone_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with from_environment(say=print) as share:
        assert share is ALONE
    with pytest.raises(InputError, match="as ever"), from_environment(say=print):
        raise InputError("as ever")
    assert ALONE.gather(torch.ones(2, 1)).tolist() == [[1], [1]]
    assert ALONE.led(lambda f: f(2.0), lambda x: 3 * x) == 6
    assert ALONE.first(lambda: 3) == 3


def test_a_broken_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "x")
    with pytest.raises(InputError, match="RANK is 'x'"), from_environment(say=print):
        pass


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two processes, which wait for each other for no time at all."""
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    assert timedelta(minutes=1) < processes._MEETING < timedelta(minutes=15)
    monkeypatch.setattr(processes, "_MEETING", timedelta(milliseconds=1))


@pytest.mark.usefixtures("started")
def test_a_launcher_that_is_gone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
        monkeypatch.setenv("MASTER_PORT", str(held.getsockname()[1]))
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
        with (
            pytest.raises(InputError, match=r"the processes cannot meet at 127\.0\.0\.1"),
            from_environment(say=print),
        ):
            pass


@pytest.mark.usefixtures("started")
def test_processes_that_do_not_come_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.setattr(processes, "_store", HashStore)
    clock = [0.0]
    time = SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda step: clock.append(clock.pop() + step))
    monkeypatch.setattr(failures, "time", time)
    lines: list[str] = []
    with pytest.raises(SystemExit) as caught, from_environment(say=lines.append):
        pass
    assert caught.value.code == 1
    (line,) = lines
    assert "a process of this run died (no answer from rank 1)" in line
