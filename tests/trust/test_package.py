"""The package as imported: what it must not load."""

from __future__ import annotations

import subprocess
import sys


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
