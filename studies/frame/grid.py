"""A study's runs, shared among processes or the workers of a Dask cluster; what each found is kept by itself."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import joblib
import torch
import xarray as xr

from probes.data.dataset import DataSet, load_data
from probes.errors import InputError, mention
from probes.system.callables import user_code
from probes.system.files import make_folder, write_atomically
from probes.system.seals import sealed, unsealed
from probes.system.terminal import say
from studies.frame.finding import find_study
from studies.frame.study import Coordinates

__all__ = ["Grid", "check_cluster", "described", "of_users"]

_KEPT = "found.json"
_ANSWER_WITHIN = 10.0  # seconds


def described(run: Coordinates) -> str:
    """In words."""
    return ", ".join(f"{name} {value}" for name, value in run.items())


def of_users(spec: str) -> AbstractContextManager[None]:
    """Inside, what a study in a file of the user's own raises is said in one line."""
    return user_code("study", spec) if spec.rpartition(":")[0].endswith(".py") else nullcontext()


@dataclass(frozen=True)
class Grid:
    """The runs of a study in its folder.

    Attributes:
        study: where its class is, ``module:class`` or ``file.py:class``.
        preset: the name of its size.
        data: a data spec.
        out: the study's folder, which all workers see.
    """

    study: str
    preset: str
    data: str
    out: Path

    def run(
        self, runs: Sequence[Coordinates], *, jobs: int | None = None, dask: str | None = None
    ) -> list[xr.Dataset]:
        """Make those that are not there yet, and read what all found, in their order.

        Args:
            runs: all of them.
            jobs: processes of one thread each; None: as many as there are cores.
            dask: the address of a Dask scheduler; None: this machine.

        Raises:
            InputError: what a run says, two runs are the same, or the cluster does not answer.
        """
        folders = [self.folder(run) for run in runs]
        if len(set(folders)) < len(folders):
            raise InputError(f"{mention('study', self.study)}: two runs have the same names and values")
        missing = [run for run, folder in zip(runs, folders, strict=True) if _kept(folder) is None]
        if missing:
            self._make(missing, len(runs), jobs or joblib.cpu_count(), dask)
        found = [_kept(folder) for folder in folders]
        assert all(one is not None for one in found)
        return [one for one in found if one is not None]

    def folder(self, run: Coordinates) -> Path:
        """Of one run."""
        parts = [f"{name}-{value}" for name, value in run.items()]
        return self.out / "runs" / re.sub(r"[^A-Za-z0-9._=-]+", "-", "_".join(parts))

    def _make(self, runs: Sequence[Coordinates], whole: int, jobs: int, dask: str | None) -> None:
        done = whole - len(runs)
        owner = None if dask is not None or jobs == 1 else os.getpid()
        with _workers(min(jobs, len(runs)), dask) as work:
            try:
                for made in work(joblib.delayed(_one)(self, run, owner) for run in runs):
                    done += 1
                    say(f"[{done}/{whole}] {described(made)}", err=True)
            except joblib.externals.loky.process_executor.TerminatedWorkerError as error:
                raise InputError(
                    f"{self.out}: a process died in the middle of a run, for want of memory perhaps; the same command"
                    " goes on where it was, with `jobs=1` in this process"
                ) from error


def check_cluster(address: str) -> None:
    """Refuse an address at which nobody answers.

    Raises:
        InputError: it is none, nobody answers, or what it takes is not installed.
    """
    try:
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        raise InputError(
            f"{mention('dask', address)}: needs the extra [cluster]; pip install 'deep-relative-trust[cluster]'"
        ) from None
    try:
        place = get_address_host_port(address)
    except ValueError:
        raise InputError(
            f"{mention('dask', address)}: no address; give one such as tcp://10.0.0.1:8786"
        ) from None
    try:
        socket.create_connection(place, timeout=_ANSWER_WITHIN).close()
    except OSError as error:
        raise InputError(
            f"{mention('dask', address)}: no scheduler answers there ({error}); start one with `dask scheduler`"
        ) from error


@contextmanager
def _workers(jobs: int, dask: str | None) -> Iterator[joblib.Parallel]:
    """Who makes the runs.

    Raises:
        InputError: there is no cluster at that address, or it has no worker.
    """
    if dask is None:
        with joblib.parallel_config("loky", n_jobs=jobs):
            yield joblib.Parallel(return_as="generator_unordered", batch_size=1)
        if jobs > 1:
            joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
        return
    check_cluster(dask)
    from distributed import Client

    client = Client(dask, timeout=_ANSWER_WITHIN, set_as_default=False)  # type: ignore[no-untyped-call]
    with client:
        if not client.scheduler_info()["workers"]:
            raise InputError(
                f"{mention('dask', dask)}: it has no worker; start some with `dask worker {dask}`"
            )
        with joblib.parallel_config("dask", client=client):
            yield joblib.Parallel(return_as="generator_unordered", batch_size=1)


def _one(grid: Grid, run: Coordinates, owner: int | None) -> Coordinates:
    """Make one run, in whatever process, by one thread, so that numbers do not depend on who shares the work."""
    if owner is not None and os.getpid() != owner:
        _end_with(owner)
    study, _ = find_study(grid.study)
    if not grid.out.is_dir():
        raise InputError(f"{grid.out}: a worker does not see this folder; choose an `out` that all share")
    folder = grid.folder(run)
    make_folder(folder)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with of_users(grid.study):
            found = study.measure(study.presets[grid.preset], run, folder, _data(grid.data))
        if not isinstance(found, xr.Dataset):
            raise InputError(f"measure must return an xarray.Dataset, got {type(found).__name__}")
    except InputError as error:
        raise InputError(f"{described(run)}: {error}") from error
    finally:
        torch.set_num_threads(before)
    write_atomically(folder / _KEPT, sealed(json.dumps(found.to_dict()).encode()))
    return run


@cache
def _data(spec: str) -> DataSet:
    return load_data(spec)


@cache
def _end_with(owner: int) -> None:
    """End this process when the one that started it is gone, so that its folders are free for the next."""

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _kept(folder: Path) -> xr.Dataset | None:
    """What a run found; None where it is not there whole."""
    try:
        content = unsealed((folder / _KEPT).read_bytes())
    except FileNotFoundError:
        return None
    try:
        return None if content is None else xr.Dataset.from_dict(json.loads(bytes(content)))
    except (ValueError, KeyError, TypeError, AttributeError):  # somebody else's file of this name
        return None
