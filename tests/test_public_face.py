"""What a user imports: the examples in the packages' docstrings run, and every name is there and documented."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from types import ModuleType

import pytest

PACKAGES = ["trust", "trust.claims", "analysis", "figures", "probes", "studies.show"]


def examples(module: ModuleType) -> list[doctest.Example]:
    assert module.__doc__
    return doctest.DocTestParser().get_examples(module.__doc__)


def run(module: ModuleType, source: str) -> doctest.TestResults:
    runner = doctest.DocTestRunner(verbose=False)
    return runner.run(
        doctest.DocTestParser().get_doctest(source, {}, module.__name__, None, 0), out=lambda text: None
    )


@pytest.mark.parametrize("name", PACKAGES)
def test_the_example_in_the_docstring_runs_as_it_says(name: str) -> None:
    module = importlib.import_module(name)
    shown = examples(module)
    assert any(example.want for example in shown), "an example that shows nothing cannot fail"
    assert run(module, module.__doc__ or "") == (0, len(shown))
    last = [example.want for example in shown if example.want][-1]
    assert run(module, (module.__doc__ or "").replace(last, "something else\n")).failed == 1


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_is_there_in_order_and_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        value = getattr(module, public)
        assert value.__doc__ or not (inspect.isfunction(value) or inspect.isclass(value)), public
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


def test_star_imports_and_type_checkers_see_the_same_figures() -> None:
    import figures

    for name, home in figures._HOMES.items():
        assert name in importlib.import_module(f"figures.{home}").__all__
        assert name in dir(figures)


@pytest.mark.parametrize(
    ("name", "heavy"),
    [
        ("trust.claims", {"torch", "scipy", "matplotlib", "analysis", "probes", "figures"}),
        ("analysis", {"torch", "matplotlib", "probes", "figures"}),
        ("figures", {"torch", "matplotlib", "pandas", "xarray", "trust", "analysis", "probes"}),
    ],
)
def test_an_import_brings_nothing_heavy(name: str, heavy: set[str]) -> None:
    code = f"import sys, {name}; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
