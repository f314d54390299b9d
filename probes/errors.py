"""The one exception that the command line turns into a single line and exit status 2."""

import re
from pathlib import PurePath

__all__ = ["InputError", "lacks_derivative", "mention"]


class InputError(ValueError):
    """Something given by the user cannot be used; the message names it and says what to do.

    Raised for files, folders, settings and arrays from outside. The message is one line, and names settings as
    :func:`mention` does.
    """

    def __init__(self, message: str) -> None:
        """Keep ``message`` on one line, whatever text of other libraries went into it."""
        super().__init__(" ".join(message.split()))


def mention(setting: str, value: object) -> str:
    """A setting as messages name it, between backticks and as Python spells it: ``chunk=0``.

    The command spells it as its option, ``--chunk 0``; where no value matters a message says ```chunk```.
    """
    written = repr(str(value) if isinstance(value, PurePath) else value)
    return "`{}={}`".format(setting, written.replace("`", r"\x60"))


_NO_DERIVATIVE = re.compile(r"derivative|differentia|double backward|forward AD|functorch|not implemented")


def lacks_derivative(error: RuntimeError) -> bool:
    """Whether autograd says that something cannot be differentiated; it has no class of its own for that."""
    return isinstance(error, NotImplementedError) or _NO_DERIVATIVE.search(str(error)) is not None
