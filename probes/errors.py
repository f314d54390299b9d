"""The one exception that the command line turns into a single line and exit status 2."""

import re

__all__ = ["InputError", "lacks_derivative"]


class InputError(ValueError):
    """Something given by the user cannot be used; the message names it and says what to do.

    Raised for files, folders, options and arrays from outside. The message is one line.
    """

    def __init__(self, message: str) -> None:
        """Keep ``message`` on one line, whatever text of other libraries went into it."""
        super().__init__(" ".join(message.split()))


_NO_DERIVATIVE = re.compile(r"derivative|differentia|double backward|forward AD|functorch|not implemented")


def lacks_derivative(error: RuntimeError) -> bool:
    """Whether autograd says that something cannot be differentiated; it has no class of its own for that."""
    return isinstance(error, NotImplementedError) or _NO_DERIVATIVE.search(str(error)) is not None
