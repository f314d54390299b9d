"""Callables by name: which texts name one, and what is said of those that name none."""

from __future__ import annotations

import math
import sys
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


def folder(path: Path, number: int) -> Path:
    """A file with a module and a package beside it, imported at once, later, and by each other."""
    files = {
        "helper.py": f"NUMBER = {number}\n",
        "late.py": f"NUMBER = {10 * number}\n",
        "parts/__init__.py": "",
        "parts/inner.py": "from helper import NUMBER\nTWICE = 2 * NUMBER\n",
        "mine.py": "import helper\n\n\ndef numbers():\n    import late\n    from parts.inner import TWICE\n"
        "    return helper.NUMBER, late.NUMBER, TWICE\n\n\nVALUE = helper.NUMBER\n",
    }
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content, "utf-8")
    return path


def test_files_import_what_is_beside_them_and_not_beside_another(tmp_path: Path) -> None:
    first, second = folder(tmp_path / "first", 1), folder(tmp_path / "second", 2)
    before = list(sys.path)
    one = load_callable(f"{first / 'mine.py'}:numbers", option="--network")
    two = load_callable(f"{second / 'mine.py'}:numbers", option="--loss")
    assert one() == (1, 10, 2)  # what it imports only now comes from its own folder
    assert two() == (2, 20, 4)
    assert one() == (1, 10, 2)
    assert load_object(f"{first / 'mine.py'}:VALUE", option="--claim") == 1
    assert one.__module__ != two.__module__
    assert sys.modules[one.__module__].VALUE == 1  # for whoever looks it up, as dataclasses do
    assert sys.path == before
    (first / "broken.py").write_text("import helper, no_such_module_anywhere\n", "utf-8")
    with pytest.raises(InputError, match="no_such_module_anywhere"):
        load_callable(f"{first / 'broken.py'}:numbers", option="--network")
    assert sys.path == before


def test_what_a_file_shadows_stays_what_it_is(tmp_path: Path) -> None:
    import json

    (tmp_path / "json.py").write_text("raise RuntimeError('the wrong one')\n", "utf-8")
    (tmp_path / "mine.py").write_text("import json\nNUMBER = json.loads('3')\n", "utf-8")
    assert load_object(f"{tmp_path / 'mine.py'}:NUMBER", option="--claim") == 3
    assert sys.modules["json"] is json


def test_a_library_below_a_file_s_folder_belongs_to_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "environment" / "library_of_this_test").mkdir(parents=True)
    (tmp_path / "environment" / "library_of_this_test" / "__init__.py").write_text("", "utf-8")
    (tmp_path / "mine.py").write_text("import library_of_this_test as LIBRARY\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path / "environment")
    library = load_object(f"{tmp_path / 'mine.py'}:LIBRARY", option="--claim")
    other = folder(tmp_path / "other", 1) / "asks.py"
    other.write_text("import library_of_this_test as LIBRARY\n", "utf-8")
    assert load_object(f"{other}:LIBRARY", option="--claim") is library
