"""Options: how many examples at once, and choices that belong to packages too heavy for a command's start."""

from __future__ import annotations

import click
import pytest

from figures import FORMATS
from probes import InputError
from probes.cli.main import main
from probes.cli.options import read_chunk
from studies.figure1 import PRESETS


def option(command: str, name: str) -> click.Parameter:
    (found,) = [parameter for parameter in main.commands[command].params if parameter.name == name]
    return found


def choices(command: str, name: str) -> list[str]:
    kind = option(command, name).type
    assert isinstance(kind, click.Choice)
    return list(kind.choices)


def test_what_the_chunk_may_be() -> None:
    context, parameter = click.Context(main), option("run", "chunk")

    def read(text: str) -> int | None:
        return read_chunk(context, parameter, text)

    assert read("auto") is None
    assert read("17") == 17
    for text in ("0", "-1", "1.5", "", "many", "1e3", "٣"):
        with pytest.raises(InputError, match="--chunk"):
            read(text)


def test_choices_of_packages_that_are_too_heavy_to_ask() -> None:
    for command in ("report", "figure1"):
        assert choices(command, "formats") == list(FORMATS)
    assert choices("figure1", "preset") == list(PRESETS)
