"""The one exception that the command line turns into a single line and exit status 2."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Something given by the user cannot be used; the message names it and says what to do.

    Raised for files, folders, options and arrays from outside. The message is one line.
    """

    def __init__(self, message: str) -> None:
        """Keep ``message`` on one line, whatever text of other libraries went into it."""
        super().__init__(" ".join(message.split()))
