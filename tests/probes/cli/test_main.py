"""The group: help answers at once, and explains everything."""

from __future__ import annotations

import subprocess
import sys

from probes.cli.main import main
from tests.conftest import Probe


def test_help_needs_no_heavy_library() -> None:
    heavy = "{'torch', 'numpy', 'scipy', 'xarray', 'matplotlib', 'pandas'}"
    code = f"import sys, probes.cli.main; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_command_that_measures_loads_no_library_that_it_does_not_need() -> None:
    heavy = "{'matplotlib', 'seaborn', 'scipy.optimize', 'scipy.interpolate', 'scipy.stats', 'torch._dynamo', 'sympy'}"
    code = (
        "import sys; from probes.cli import reports; from probes.runs import run, training;"
        " from probes.measures.registry import all_measures; all_measures();"
        f" print(sorted({heavy} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_option_of_every_command_is_explained(probe: Probe) -> None:
    for name, command in main.commands.items():
        assert probe(name, "--help").exit_code == 0
        assert command.help, name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{name} {parameter.opts}"
