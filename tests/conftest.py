"""How every test runs, and a small data set and a small trained network, made once by the commands themselves."""

from __future__ import annotations

import math
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, configuration, settings

import probes.runs.run
from probes.cli.main import main

# a slow machine fails no test, and processes share no examples
settings.register_profile(
    "any machine", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
torch.set_num_threads(1)  # see tests/__init__.py
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # in a shell's background, which processes would inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)

Probe = Callable[..., Result]


@pytest.fixture(autouse=True, scope="session")
def _at_any_speed() -> None:
    """How long a run takes is the machine's: none says so, however long it seems to take."""
    probes.runs.run.WORTH_SAYING = math.inf


def pytest_configure(config: pytest.Config) -> None:
    """What Hypothesis and torch cache goes with the process."""
    home = tempfile.TemporaryDirectory(prefix="caches-")
    configuration.set_hypothesis_home_dir(home.name)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = home.name
    config.add_cleanup(home.cleanup)


@pytest.fixture(scope="session")
def probe() -> Probe:
    """Call the command with arguments; standard output and standard error are kept apart."""

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return call


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 examples of 3 classes in 6 dimensions that can be told apart."""
    random = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = random.normal(size=(60, 6)) + 3 * np.eye(6)[y]
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, x=x.astype(np.float32), y=y)
    return path


@pytest.fixture(scope="session")
def trained(probe: Probe, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three checkpoints."""
    out = tmp_path_factory.mktemp("trained") / "net"
    options = [
        "--depth",
        3,
        "--width",
        8,
        "--epochs",
        6,
        "--batch-size",
        20,
        "--checkpoints",
        3,
        "--data",
        data,
    ]
    result = probe("train", *options, "--out", out)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="session")
def measured(probe: Probe, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("measured") / "run"
    result = probe("run", trained, "--jacobian", 2, "--etas", "0.0001,0.001,0.01,0.1", "--out", out)
    assert result.exit_code == 0, result.output
    return out
