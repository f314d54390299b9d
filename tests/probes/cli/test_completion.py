"""Shell completion: commands, options and choices."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete, get_completion_class

from probes.cli.main import main


def completed(arguments: list[str], incomplete: str) -> list[str]:
    found = ShellComplete(main, {}, "probe", "_PROBE_COMPLETE").get_completions(arguments, incomplete)
    return [item.value for item in found]


def test_commands_options_and_choices_are_completed() -> None:
    assert completed([], "re") == ["report"]
    assert completed(["run"], "--dir") == ["--direction"]
    assert completed(["run", "--direction"], "n") == ["noise"]
    assert "--config" in completed(["run"], "--")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(shell: str) -> None:
    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(main, {}, "probe", "_PROBE_COMPLETE")
    assert "_PROBE_COMPLETE" in made.source_template % made.source_vars()
