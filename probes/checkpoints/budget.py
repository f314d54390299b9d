"""What reading one file may cost, in memory and in work, held against the bytes that it has."""

from __future__ import annotations

__all__ = ["Budget", "UnreadableError"]

ALWAYS = 1 << 26
"""What any file may cost, in bytes."""
TIMES = 32
"""And how many times its own size beyond that: tensors that share numbers, and Python's objects for a pickle's."""


class UnreadableError(ValueError):
    """The bytes are not what their format asks for; the message says where they differ."""


class Budget:
    """Bytes that may still be made of a file; whatever reads it spends from the same one, before it makes them.

    Work that makes nothing (looking at a chunk, copying what is let go of) is paid for as if it made as many bytes.
    """

    def __init__(self, size: int) -> None:
        """All of it, for a file of ``size`` bytes."""
        self.size = size
        self._left = ALWAYS + TIMES * size

    def spend(self, count: int) -> None:
        """Pay for ``count`` bytes.

        Raises:
            UnreadableError: there are not as many left.
        """
        self._left -= count
        if self._left < 0:
            raise UnreadableError(f"what it describes takes more memory than its {self.size} bytes can mean")
