"""The one exception that the command line turns into a single line and exit status 2, and text that is safe to show.

Errors of others are told apart here, by what they say where they have no class of their own.
"""

import re
from pathlib import PurePath

__all__ = ["InputError", "PeerLostError", "is_out_of_memory", "lacks_derivative", "mention", "shown"]

_HEAD, _TAIL = 600, 250
"""Characters that are kept of a message: in a longer one something from outside was put whole."""


def shown(text: str) -> str:
    """Text from outside as it may be shown: what is not printable is written as Python escapes it in quotes.

    Names and descriptions may hold what a terminal obeys, or bytes that are no UTF-8. Ends of lines stay.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class InputError(ValueError):
    """Something given by the user cannot be used; the message names it and says what to do.

    Raised for files, folders, settings and arrays from outside. The message is one line, and names settings as
    :func:`mention` does.
    """

    def __init__(self, message: str) -> None:
        """Keep ``message`` on one line that can be shown, whatever text of other libraries and files went into it."""
        line = shown(" ".join(message.split()))
        if len(line) > _HEAD + _TAIL:
            line = f"{line[:_HEAD]} … {line[-_TAIL:]}"
        super().__init__(line)


class PeerLostError(Exception):
    """Another process of the same run could not be reached."""


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


_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|cannot allocate memory"
    r"|(CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CUFFT)_(STATUS_)?ALLOC_FAILED|cudaErrorMemoryAllocation",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whatever device.

    PyTorch has a class for that on accelerators only, and only for its own allocator; the CPU's allocator and
    the libraries (cuBLAS, cuDNN, …) that take memory of their own raise a plain RuntimeError.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
