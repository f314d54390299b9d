"""Callables by name: which texts name one, and what is said of those that name none."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from probes import InputError
from probes.system.callables import is_callable_spec, load_callable, load_object


@pytest.mark.parametrize(
    ("spec", "is_one"),
    [
        ("math:sqrt", True),
        ("os.path:join", True),
        ("some/folder/mine.py:make", True),
        ("mine.py:", False),
        ("mine.py", False),
        ("mnist", False),
        ("mnist:some/folder", False),
        ("data.npz:x y", False),
        ("C:\\nets\\mine.py:make", True),
    ],
)
def test_which_texts_name_a_callable(spec: str, is_one: bool) -> None:
    assert is_callable_spec(spec) is is_one


def test_callables_come_from_modules_and_files(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("NUMBER = 3\n\n\ndef twice(x):\n    return 2 * x\n", "utf-8")
    assert load_callable("math:sqrt", option="loss") is math.sqrt
    assert load_callable(f"{tmp_path / 'mine.py'}:twice", option="loss")(4) == 8
    assert load_object(f"{tmp_path / 'mine.py'}:NUMBER", option="claim") == 3
    assert load_object("math:nothing", option="claim") is None


def test_what_cannot_be_called_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("NUMBER = 3\n", "utf-8")
    (tmp_path / "broken.py").write_text("1 / 0\n", "utf-8")
    for spec, why in (
        (f"{tmp_path / 'mine.py'}:NUMBER", "has no callable named NUMBER"),
        (f"{tmp_path / 'mine.py'}:make", "has no callable named make"),
        (f"{tmp_path / 'none.py'}:make", "no such file"),
        (f"{tmp_path / 'broken.py'}:make", "ZeroDivisionError: division by zero"),
        ("no_such_package_anywhere:make", "ModuleNotFoundError"),
    ):
        with pytest.raises(InputError) as caught:
            load_callable(spec, option="network")
        assert str(caught.value).startswith(f"`network={spec!r}`: ")
        assert why in str(caught.value)
        assert "\n" not in str(caught.value)
