"""Text as data: windows of characters, each with the character that follows it as its label.

A character is a byte of UTF-8, so that the vocabulary is the same 256 whatever the text, and a network that was
trained on one text can be probed on another.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from probes.errors import InputError, mention

__all__ = ["CONTEXT", "is_text_spec", "shuffled_windows", "text_of", "text_windows"]

CONTEXT = 64
"""Characters in an example."""
_LARGEST = 1 << 26  # bytes of a file: its windows take sixteen times as much memory
_SHUFFLE_SEED = 20200210  # fixed, as for MNIST: every subset must be mixed


def is_text_spec(spec: str) -> bool:
    """Whether a data spec means text: ``text`` or ``text:FILE``."""
    return spec == "text" or spec.startswith("text:")


def text_windows(spec: str) -> tuple[Tensor, Tensor]:
    """Cut a text into windows of :data:`CONTEXT` characters that do not overlap, in a fixed shuffled order.

    Args:
        spec: ``text`` (the topics of Python's own documentation, which every CPython carries; they differ a
            little between versions), or ``text:FILE``.

    Returns:
        The characters x (n, context) and those after each of them, y (n, context), both int64. What does not
        fill a window at the end is left out.

    Raises:
        InputError: the file cannot be read, is too large, or is too short for one window.
    """
    content = text_of(spec)
    count = (len(content) - 1) // CONTEXT
    if count < 1:
        raise InputError(
            f"{mention('data', spec)}: needs at least {CONTEXT + 1} bytes of text, it has {len(content)}"
        )
    values = torch.from_numpy(np.frombuffer(content, np.uint8).astype(np.int64))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(_SHUFFLE_SEED))
    x = values[: count * CONTEXT].view(count, CONTEXT)
    y = values[1 : count * CONTEXT + 1].view(count, CONTEXT)
    return x[order], y[order]


def text_of(spec: str) -> bytes:
    """The text that a spec names.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    return _topics() if spec == "text" else _read(Path(spec.removeprefix("text:")), spec)


def shuffled_windows(values: Tensor, width: int) -> Tensor:
    """A sequence (m,) cut into windows (n, width) that do not overlap, in a fixed shuffled order."""
    count = len(values) // width
    order = torch.randperm(count, generator=torch.Generator().manual_seed(_SHUFFLE_SEED))
    return values[: count * width].view(count, width)[order]


def _topics() -> bytes:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise InputError("`data='text'`: this Python came without pydoc_data; give text:FILE") from error
    return "\n".join(topics[name] for name in sorted(topics)).encode()


def _read(path: Path, spec: str) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{mention('data', spec)}: is not a plain file")
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(f"{mention('data', spec)}: cannot be read ({error.strerror})") from error
    if len(content) > _LARGEST:
        raise InputError(f"{mention('data', spec)}: is larger than {_LARGEST >> 20} MiB; give a part of it")
    return content
