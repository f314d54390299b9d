"""A study by its name, or in a file of the user's own."""

from __future__ import annotations

from probes.errors import InputError, mention
from probes.system.callables import is_callable_spec, load_object
from studies.catalogue import STUDIES
from studies.frame.study import Study

__all__ = ["find_study"]


def find_study(spec: str) -> tuple[Study, str]:
    """The study of that name, or in a file of the user's own; and where it is.

    Raises:
        InputError: there is none.
    """
    if spec in STUDIES:
        spec = STUDIES[spec].place
    elif not is_callable_spec(spec):
        file = spec.partition(":")[0]
        fix = f"name its class, as {spec}:Name" if file.endswith(".py") else "path/to/file.py:Name"
        raise InputError(f"{mention('study', spec)}: unknown (there are {', '.join(STUDIES)}, and {fix})")
    found = load_object(spec, option="study")
    if not (isinstance(found, type) and issubclass(found, Study)):
        what = "no name in it" if found is None else repr(found)[:60]
        raise InputError(
            f"{mention('study', spec)}: that is {what}, not a class made from studies.frame.Study"
        )
    missing = [name for name in ("name", "question", "presets") if not hasattr(found, name)]
    if missing or getattr(found, "__abstractmethods__", None):
        lacking = missing[0] if missing else min(found.__abstractmethods__)
        raise InputError(f"{mention('study', spec)}: the study must say its {lacking}")
    return found(), spec
