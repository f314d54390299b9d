"""A study is its runs, each made once and kept by itself, whoever makes them and however often it is cut short."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import LocalCluster

import studies.frame.grid
from probes.errors import InputError
from probes.system.seals import sealed
from studies.frame import find_study, interval, run_study
from studies.frame.grid import Grid
from tests.conftest import Probe

MINE = Path(__file__).with_name("mine.py")
SQUARES = f"{MINE}:Squares"


def calls(out: Path) -> int:
    return sum(len(path.read_text()) for path in out.glob("runs/*/calls"))


def run(out: Path, **options: Any) -> dict[str, float]:
    return dict(run_study(SQUARES, "quick", out, **{"jobs": 1, "formats": ("png",), **options}).numbers)


def test_a_study_of_ones_own_works_like_ours(probe: Probe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ["study", SQUARES, "--seeds", 2, "--jobs", 1, "--format", "svg", "--out", out]
    found = probe(*given)
    assert found.exit_code == 0, found.output
    assert "[6/6] number 2, seed 1" in found.stderr
    assert "As large as 5." in found.stdout
    document = json.loads(probe(*given, "--json").stdout)
    assert document["numbers"]["2/low"] == 4.0
    assert document["numbers"]["2/middle"] == 4.5
    assert [Path(path).name for path in document["figures"]] == ["squares.png", "squares.svg", "squares.csv"]
    page = (out / "squares.md").read_text()
    for said in (
        "How large are squares?",
        "the quick preset, 2 seeds",
        "As large as 5.",
        "Nothing is said of cubes.",
    ):
        assert said in page
    assert f"probe study {SQUARES} --preset quick --seeds 2 --data mnist --out out" in page
    assert calls(out) == 6


def test_what_is_there_is_not_done_again_and_seeds_are_added(tmp_path: Path) -> None:
    assert run(tmp_path, seeds=1) == run(tmp_path, seeds=1)
    assert calls(tmp_path) == 3
    assert run(tmp_path, seeds=3)["1/high"] == 3.0
    assert calls(tmp_path) == 9
    first = next(tmp_path.glob("runs/*/found.json"))
    first.write_bytes(first.read_bytes()[:-1])  # damaged
    run(tmp_path, seeds=3)
    assert calls(tmp_path) == 10
    for content in (b"[]", b"nothing", b"{}", b'{"dims": 3}'):
        first.write_bytes(sealed(content))  # whole, and no run's
        assert run(tmp_path, seeds=3)["1/high"] == 3.0


def test_who_makes_the_runs_makes_no_difference(tmp_path: Path) -> None:
    alone, several = run(tmp_path / "one", seeds=2), run(tmp_path / "two", seeds=2, jobs=2)
    assert alone == several
    processes = {
        studies.frame.grid._kept(path.parent)["threads"].item()  # type: ignore[index]
        for path in (tmp_path / "two").glob("runs/*/found.json")
    }
    assert os.getpid() not in processes


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path / "dask")
    ) as found:
        yield found


def test_a_cluster_makes_the_same(tmp_path: Path, cluster: LocalCluster) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    arguments: dict[str, Any] = {"seeds": 1, "formats": ("png",)}
    ours = run_study("depth", "toy", alone, jobs=1, **arguments)
    theirs = run_study("depth", "toy", shared, dask=cluster.scheduler_address, **arguments)
    assert dict(ours.numbers) == dict(theirs.numbers)
    assert (alone / "depth.csv").read_bytes() == (shared / "depth.csv").read_bytes()


def test_a_cluster_that_cannot_help_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no scheduler answers there .*start one with `dask scheduler`"):
        run(tmp_path / "a", dask="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match="no address; give one such as tcp"):
        run(tmp_path / "a", dask="nonsense")
    assert not (tmp_path / "a").exists()
    with (
        LocalCluster(n_workers=0, dashboard_address=None) as empty,  # type: ignore[no-untyped-call]
        pytest.raises(InputError, match="it has no worker; start some with `dask worker tcp"),
    ):
        run(tmp_path / "a", dask=empty.scheduler_address)
    monkeypatch.setitem(sys.modules, "distributed.comm.addressing", None)
    with pytest.raises(InputError, match=r"needs the extra \[cluster\]"):
        run(tmp_path / "a", dask="tcp://127.0.0.1:9")
    assert calls(tmp_path / "a") == 0


def test_a_folder_that_a_worker_does_not_see_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a worker does not see this folder"):
        studies.frame.grid._one(
            Grid(SQUARES, "quick", "mnist", tmp_path / "elsewhere"), {"number": 1, "seed": 0}, None
        )


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "probes", "study", *map(str, arguments)]


def test_killed_while_it_runs_it_ends_with_the_same_numbers(tmp_path: Path) -> None:
    """The process that makes a run is killed, twice; what was made before stays."""
    cut = tmp_path / "cut"
    cut.mkdir()
    for number in (1, 2):
        (cut / f".kill-{number}").touch()
    given = command(SQUARES, "--seeds", 1, "--jobs", 1, "--format", "png", "--out", cut)
    ends = [subprocess.run(given, capture_output=True).returncode for _ in range(3)]
    assert ends == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert calls(cut) == 3 + 2
    assert run(cut, seeds=1) == run(tmp_path / "whole", seeds=1)


@pytest.mark.parametrize("lines", [1, 9])
def test_a_training_study_killed_at_any_moment_ends_with_the_same_bytes(lines: int, tmp_path: Path) -> None:
    out, whole = tmp_path / "cut" / "depth", tmp_path / "whole" / "depth"
    given = command("depth", "--preset", "toy", "--seeds", 1, "--jobs", 2, "--out", out)
    process = subprocess.Popen(given, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for _ in range(lines):
        process.stderr.readline()
    process.kill()
    process.communicate()
    assert 0 < len(list(out.glob("runs/*/found.json"))) < 18
    for folder in (out, whole):
        run_study("depth", "toy", folder, seeds=1, jobs=1, formats=("png",))
    for name in ("depth.csv", "depth.png", "depth.md"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("spec", "options", "text"),
    [
        ("nothing", {}, r"study='nothing'.*unknown \(there are figure1, depth"),
        (f"{MINE}:Unfinished", {}, "the study must say its name"),
        (f"{MINE}:NUMBER", {}, "that is 3, not a class made from studies.frame.Study"),
        (f"{MINE}:Nobody", {}, "that is no name in it, not a class"),
        ("nowhere.py:Study", {}, "no such file nowhere.py"),
        (SQUARES, {"preset": "huge"}, "preset='huge'.*the study has quick, twice"),
        (SQUARES, {"seeds": 0}, "seeds=0"),
        (SQUARES, {"seeds": -1}, "seeds=-1"),
        (SQUARES, {"jobs": 0}, "jobs=0"),
        (SQUARES, {"data": "no-such-data"}, "no-such-data"),
        (SQUARES, {"preset": "twice"}, "two runs have the same names and values"),
    ],
)
def test_bad_input_gets_its_line(spec: str, options: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=text):
        run_study(spec, **{"preset": "quick", "out": tmp_path / "out", "jobs": 1, **options})
    assert not list(tmp_path.glob("out/runs/*/calls"))


def test_a_failure_of_the_users_own_is_one_line(probe: Probe, tmp_path: Path) -> None:
    (tmp_path / ".fail").touch()
    found = probe("study", SQUARES, "--seeds", 2, "--jobs", 2, "--out", tmp_path)
    assert found.exit_code == 2
    assert re.search(r"number \d, seed \d: ", found.stderr)
    raised = (
        MINE.read_text().splitlines().index('            raise ZeroDivisionError("no number is that large")')
        + 1
    )
    said = f"ZeroDivisionError: no number is that large (mine.py, line {raised})"
    assert f"calling it failed with {said}" in found.stderr
    assert "Traceback" not in found.stderr


def test_another_studys_folder_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path, seeds=1)
    with pytest.raises(InputError, match="holds no study of this name"):
        run_study("depth", "toy", tmp_path)


def test_intervals_are_over_what_is_known() -> None:
    found = interval(xr.DataArray([3.0, np.nan, 1.0, 8.0]))
    assert (found.low, found.middle, found.high) == (1.0, 3.0, 8.0)
    assert np.isnan(interval([np.nan]).middle)


def test_every_study_of_ours_can_be_found() -> None:
    from studies.catalogue import STUDIES

    for name, entry in STUDIES.items():
        study, _ = find_study(name)
        assert (study.name, study.question) == (name, entry.question)
        assert set(study.presets) >= {"toy", "quick", "paper"}


def test_the_study_of_the_docs_runs_and_another_version_of_it_does_not_go_on(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "own-study.md").read_text("utf-8")
    block = text.partition("```python\n")[2].partition("```")[0]
    file = tmp_path / "width.py"
    file.write_text(block.replace("(8, 16, 32, 64)", "(8,)"))
    made: dict[str, Any] = {"jobs": 1, "formats": ("png",), "seeds": 1}
    found = run_study(f"{file}:Width", "quick", tmp_path / "out", **made)
    assert 0 < found.numbers["8"] < 10
    file.write_text(file.read_text().replace("epochs=2", "epochs=1"))
    with pytest.raises(InputError, match="the code that runs other"):
        run_study(f"{file}:Width", "quick", tmp_path / "out", **made)


def test_a_conclusion_may_be_mended_without_running_again(tmp_path: Path) -> None:
    file, out = tmp_path / "s.py", tmp_path / "out"
    file.write_text(MINE.read_text().replace('f"As large as', 'f"{1 / 0}As large as'))
    made: dict[str, Any] = {"jobs": 1, "seeds": 1, "formats": ("svg",)}
    with pytest.raises(InputError, match="ZeroDivisionError"):
        run_study(f"{file}:Squares", "quick", out, **made)
    before = calls(out)
    file.write_text(f"# another line\n{MINE.read_text()}")
    assert run_study(f"{file}:Squares", "quick", out, **made).answer == "As large as 4."
    assert calls(out) == before > 0
    assert "![squares](squares.png)" in (out / "squares.md").read_text()
    file.write_text(MINE.read_text().replace('int(run["seed"])', '2 * int(run["seed"])'))
    with pytest.raises(InputError, match="the code that runs other"):
        run_study(f"{file}:Squares", "quick", out, **made)
    with pytest.raises(InputError, match="the preset, the preset's numbers"):
        run_study(f"{file}:Squares", "twice", out, **made)


@pytest.mark.parametrize(
    ("line", "instead", "text"),
    [
        (
            'return xr.Dataset({"value"',
            'return 1.5 if True else xr.Dataset({"value"',
            "measure must return an xarray.Dataset, got float",
        ),
        ("return Conclusion(", "return str(", "Conclusion"),
        ('return [{"number": number}', 'return [{"number": number, "seed": 3}', "seeds are the frame's"),
        ('return [{"number": number}', "return [str(number)", "one mapping a run"),
        ('return [{"number": number}', 'return [] and [{"number": number}', "one mapping a run"),
    ],
)
def test_what_a_study_must_not_do_is_told(line: str, instead: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "s.py"
    changed = MINE.read_text().replace(line, instead)
    if "str(" in instead:
        changed = changed.replace("return str(", "return str if True else Conclusion(")
    file.write_text(changed)
    with pytest.raises(InputError, match=text):
        run_study(f"{file}:Squares", "quick", tmp_path / "out", jobs=1, seeds=1, formats=("png",))


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "squares.json").unlink(missing_ok=True)
    (out / ".kill-1").touch()
    with pytest.raises(InputError, match="the same command goes on"):
        run_study(f"{MINE}:Squares", "quick", out, jobs=2, seeds=1, formats=("png",))
    assert (
        run_study(f"{MINE}:Squares", "quick", out, jobs=1, seeds=1, formats=("png",)).answer
        == "As large as 4."
    )


def test_a_preset_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "odd.py"
    file.write_text(MINE.read_text().replace('"quick": 3,', '"quick": object(),'))
    with pytest.raises(InputError, match="it does not say what it is"):
        run_study(f"{file}:Squares", "quick", tmp_path / "out", jobs=1)
