"""The package as imported: its index, and what it must not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import trust


def test_everything_exported_exists_and_is_documented() -> None:
    for name in trust.__all__:
        value = getattr(trust, name)
        if callable(value):
            assert value.__doc__, name


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Fromge'"):
        _ = trust.Fromge


def test_import_loads_nothing_heavy_until_needed() -> None:
    heavy = "{'torch', 'scipy', 'scipy.optimize', 'xarray', 'probes', 'analysis', 'figures'}"
    code = (
        f"import sys, trust; print(sorted({heavy} & set(sys.modules)));"
        "trust.condition_number([[1, 2], [3, 4]]); trust.deep_relative_trust([0.1]);"
        f"print(sorted({heavy} & set(sys.modules)));"
        "trust.Fromage; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]", "True"]
