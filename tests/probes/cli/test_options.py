"""Options: how many examples at once, and choices that belong to packages too heavy for a command's start."""

from __future__ import annotations

import click
import pytest

from figures import FORMATS
from probes import InputError
from probes.cli.main import main
from probes.cli.options import read_count
from studies.figure1 import PRESETS


def option(command: str, name: str) -> click.Parameter:
    (found,) = [parameter for parameter in main.commands[command].params if parameter.name == name]
    return found


def choices(command: str, name: str) -> list[str]:
    kind = option(command, name).type
    assert isinstance(kind, click.Choice)
    return list(kind.choices)


@pytest.mark.parametrize("name", ["chunk", "etas_at_once"])
def test_what_is_done_at_once_is_a_count_or_auto(name: str) -> None:
    context, parameter = click.Context(main), option("run", name)

    def read(text: str) -> int | None:
        return read_count(context, parameter, text)

    assert read("auto") is None
    assert read("17") == 17
    for text in ("0", "-1", "1.5", "", "many", "1e3", "٣"):
        with pytest.raises(InputError, match=parameter.opts[0]):
            read(text)


def test_choices_of_packages_that_are_too_heavy_to_ask() -> None:
    for command in ("report", "figure1"):
        assert choices(command, "formats") == list(FORMATS)
    assert choices("figure1", "preset") == list(PRESETS)
