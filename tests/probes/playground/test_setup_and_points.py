"""What a browser sends is checked before anything is made of it."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from probes.errors import InputError
from probes.playground.messages import request
from probes.playground.points import MOST_ROWS, read_csv
from probes.playground.setup import Setup

GOOD = "x,y,label\n0,10,cat\n1,20,dog\n\n2,30, cat\n"


def test_a_setup_goes_there_and_back() -> None:
    setup = Setup(depth=20, width=16, rule="adam", lr=0.5, residual=True)
    assert Setup.read(json.loads(json.dumps(setup.to_json()))) == setup
    assert Setup.read({}) == Setup()
    assert setup.network.widths == (2, *[16] * 19, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"depth": 21}, "depth"),
        ({"depth": 0}, "depth"),
        ({"depth": 2.0}, "depth"),
        ({"depth": True}, "depth"),
        ({"width": 17}, "width"),
        ({"batch": 0}, "batch"),
        ({"seed": -1}, "seed"),
        ({"activation": "sin"}, "activation"),
        ({"data": "moons"}, "data"),
        ({"data": ["circle"]}, "data"),
        ({"rule": "agd"}, "rule"),
        ({"residual": 1}, "residual"),
        ({"lr": 0}, "step size"),
        ({"lr": float("nan")}, "step size"),
        ({"lr": "1"}, "step size"),
        ({"lr": 11}, "step size"),
        ({"other": 1}, "nothing else"),
    ],
)
def test_a_setup_out_of_range_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Setup.read(asdict(Setup()) | change)


def test_a_csv_is_scaled_and_its_labels_are_two_classes() -> None:
    x, side = read_csv(GOOD)
    torch.testing.assert_close(x, torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]))
    assert side.tolist() == [[-1.0], [1.0], [-1.0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "two kinds, got 0"),
        ("1,2,a\n3,4,a\n", "two kinds, got 1"),
        ("1,2,a\n3,4,b\n5,6,c\n", "two kinds, got 3"),
        ("1,2,a\nthree,4,b\n", "row 2 of the CSV: 'three', '4'"),
        ("1,2,a\ninf,4,b\n", "finite"),
        ("1,2,a\n3,b\n", "row 2 of the CSV has 2 columns"),
        ("1,2,a\n" * (MOST_ROWS + 1), "sample it"),
    ],
)
def test_what_is_no_such_csv_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_csv(text)


def test_a_column_of_one_value_is_the_middle_or_an_edge() -> None:
    x, _ = read_csv("1,2,a\n1,3,b\n")
    assert bool(x.isfinite().all())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        ("[" * 100_000, "nested"),
        ("[]", "says what to do"),
        ('{"do": 1}', "says what to do"),
        ('{"do": "explode"}', "nothing is known of 'explode'"),
        ('{"do": "run", "value": 1}', "takes no value"),
        ('{"do": "go", "value": 1e99}', "whole number"),
        ('{"do": "go", "value": 20001}', "0 to 20000"),
        ('{"do": "speed", "value": -1}', "whole number"),
        ('{"do": "perturb", "value": {"percent": "all"}}', "list of percent"),
        ('{"do": "perturb", "value": {"percent": [1e9]}}', "0 to 200 percent"),
        ('{"do": "perturb", "value": {"percent": [true]}}', "0 to 200 percent"),
        ('{"do": "perturb", "value": {"percent": [1], "direction": "up"}}', "direction"),
        ('{"do": "perturb", "value": {"percent": [1], "seed": 0.5}}', "seed"),
        ('{"do": "perturb", "value": {"percent": [1], "more": 1}}', "nothing else"),
        ('{"do": "csv", "value": 3}', "text"),
        ('{"do": "load", "value": "??"}', "base64"),
        ('{"do": "load", "value": 3}', "base64"),
        ('{"do": "setup", "value": [1]}', "nothing else"),
    ],
)
def test_a_message_that_says_nothing_is_refused_in_a_line(text: str | bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        request(text)
    assert len(str(error.value)) < 400
