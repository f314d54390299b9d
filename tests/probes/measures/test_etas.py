"""Grids of η."""

from __future__ import annotations

import numpy as np
import pytest

from probes import InputError
from probes.measures.etas import parse_etas


def test_named_grids() -> None:
    paper = [
        0,
        1e-4,
        *(k / 1000 for k in range(1, 100)),
    ]  # 1e-4 is on every grid: constants are read off there
    np.testing.assert_allclose(parse_etas("paper"), paper, rtol=1e-15)
    log = parse_etas("log")
    assert log[0] == 0
    np.testing.assert_allclose(log[[1, -1]], [1e-4, 1])
    np.testing.assert_allclose(log[2:] / log[1:-1], 1e4 ** (1 / 19))
    log[1] = 7
    assert parse_etas("log")[1] != 7  # nobody can spoil it for the next


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("0.1", [0, 1e-4, 0.1]),
        ("0,0.1", [0, 1e-4, 0.1]),
        (" 0.001, 1e-2 ,0.1,", [0, 1e-4, 0.001, 0.01, 0.1]),
        ("1e-6,1e-5", [0, 1e-6, 1e-5, 1e-4]),
        ("1e-5,0.0001,0.1", [0, 1e-5, 1e-4, 0.1]),
        ("0:0.4:5", [0, 1e-4, 0.1, 0.2, 0.3, 0.4]),
        ("0:3e-4:4", [0, 1e-4, 2e-4, 3e-4]),  # rounded, it is still there once
        ("0.1:0.3:3", [0, 1e-4, 0.1, 0.2, 0.3]),
        ("0.5:9:1", [0, 1e-4, 0.5]),
    ],
)
def test_written_grids(spec: str, expected: list[float]) -> None:
    np.testing.assert_allclose(parse_etas(spec), expected, rtol=1e-15)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        " ",
        ",",
        "x",
        "0.1,x",
        "-0.1",
        "-0.1,0.1",
        "0.2,0.1",
        "0.1,0.1",
        "0",
        "0:0:1",
        "0:1:1",
        "nan",
        "0.1,inf",
        "1e999",
        "0:1",
        "0:1:2:3",
        "0:1:0",
        "0:1:-3",
        "0:1:2.5",
        "1:0:5",
        "0:1:99999999",
        "paper,0.1",
        "0:nan:3",
    ],
)
def test_grids_that_are_none(spec: str) -> None:
    with pytest.raises(InputError, match=r"^`etas=") as caught:
        parse_etas(spec)
    assert "\n" not in str(caught.value)
