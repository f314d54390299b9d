"""Which measures there are, and which of them a slice takes."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from graphlib import CycleError, TopologicalSorter
from inspect import isabstract, isfunction
from types import new_class

import probes.measures
from probes.errors import InputError, mention
from probes.measures.measure import Measure
from probes.measures.settings import SliceSettings
from probes.system.callables import is_callable_spec, load_object, user_code, with_siblings

__all__ = ["all_measures", "chosen_measures", "named_measures"]

_DEFAULT = "default"


@cache
def all_measures() -> dict[str, type[Measure]]:
    """Every measure in this room, by its name."""
    found: dict[str, type[Measure]] = {}
    for info in pkgutil.iter_modules(probes.measures.__path__):
        module = importlib.import_module(f"{probes.measures.__name__}.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Measure) and value is not Measure:
                found[value.name] = value
    return found


@cache
def named_measures(names: tuple[str, ...]) -> tuple[type[Measure], ...]:
    """The measures of these names, and of files of the user's own.

    Raises:
        InputError: there is none of that name, or what the file holds is no measure.
    """
    return tuple(_named(name) for name in names if name != _DEFAULT)


def _named(name: str) -> type[Measure]:
    known = all_measures()
    if name in known:
        return known[name]
    if not is_callable_spec(name):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(
            f"{mention('measure', name)}: unknown{hint} (there are {_DEFAULT}, {', '.join(known)}, and"
            " path/to/file.py:Name)"
        )
    found = load_object(name, option="measure")
    if not (isinstance(found, type) and issubclass(found, Measure)):
        what = "nothing" if found is None else repr(found)[:60]
        raise InputError(f"{mention('measure', name)}: that is {what}, not a class made from probes.Measure")
    if not isinstance(getattr(found, "name", None), str) or not getattr(found, "finds", ()):
        raise InputError(f"{mention('measure', name)}: the measure must say its name and what it finds")
    if isabstract(found):
        raise InputError(f"{mention('measure', name)}: the measure must have a method found")
    named = user_code("measure", name)
    methods = {k: named(with_siblings(v, name)) for k, v in vars(found).items() if isfunction(v)}
    return new_class(found.__name__, (found,), {}, lambda own: own.update(methods))


def chosen_measures(settings: SliceSettings) -> list[type[Measure]]:
    """What a slice takes: those named and, where ``default`` is among the names, those that the settings ask for.

    They come in an order in which each finds measured what it uses.

    Raises:
        InputError: a measure that cannot be used, or two of one variable.
    """
    chosen: dict[str, type[Measure]] = {}
    if _DEFAULT in settings.measure:
        chosen = {name: one for name, one in all_measures().items() if one.by_default(settings)}
    for one in named_measures(settings.measure):
        if chosen.setdefault(one.name, one) is not one:
            raise InputError(f"`measure`: there are two measures named {one.name}")
    owners: dict[str, str] = {}
    for one in chosen.values():
        for variable in one.finds:
            if owners.setdefault(variable, one.name) != one.name:
                raise InputError(f"`measure`: {owners[variable]} and {one.name} both take {variable}")
    before = {
        one.name: {owners[variable] for variable in one.uses if variable in owners} for one in chosen.values()
    }
    try:
        return [chosen[name] for name in TopologicalSorter(before).static_order()]
    except CycleError as error:
        raise InputError(f"`measure`: {' and '.join(error.args[1])} each use what the other finds") from error
