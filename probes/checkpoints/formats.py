"""Which format a checkpoint has, by its content alone, and one line for each that cannot be read."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from probes.checkpoints.distributed import METADATA, open_distributed
from probes.checkpoints.exported import is_exported, open_exported
from probes.checkpoints.hugging_face import is_hugging_face, open_hugging_face
from probes.checkpoints.pickles import HoldsCodeError, UnreadableError
from probes.checkpoints.safetensors_file import open_safetensors
from probes.checkpoints.tensor_tree import TensorTree
from probes.checkpoints.torch_file import TorchFile
from probes.checkpoints.zip_archive import Archive
from probes.errors import InputError

__all__ = ["is_checkpoint_folder", "kind_of", "looks_like_checkpoint", "open_tree", "reading_errors"]

_LEGACY = bytes.fromhex("6cfc9c46f9206aa85019")  # the number that a file of torch before 1.6 begins with

_AGAIN = "copy, download or save it again"
_STATE_ALONE = (
    "save model.state_dict() alone, or, if it is somebody else's and you trust it, load it where its code is"
    " (torch.load(…, weights_only=False)) and save the state_dict from there"
)


def is_checkpoint_folder(path: Path) -> bool:
    """Whether a folder is one checkpoint (distributed, or of a Hugging Face library) rather than a place of several."""
    return path.is_dir() and ((path / METADATA).is_file() or is_hugging_face(path))


def kind_of(path: Path) -> str:
    """What the first bytes say a file is: ``safetensors``, ``zip``, ``pickle``, ``empty`` or ``unknown``.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        return "empty"
    if head[:4] == b"PK\x03\x04":
        return "zip"
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= header <= path.stat().st_size - 8:
        return "safetensors"
    return "pickle" if head[:1] == b"\x80" else "unknown"


def looks_like_checkpoint(path: Path) -> bool:
    """Whether a file, whatever it is called, is of a kind that checkpoints are kept in."""
    kind = kind_of(path)
    if kind == "pickle":
        with path.open("rb") as stream:
            return _LEGACY in stream.read(32)
    if kind != "zip":
        return kind == "safetensors"
    try:
        with path.open("rb") as stream:
            archive = Archive(stream)
            return is_exported(archive) or any(name.endswith("/data.pkl") for name in archive.names())
    except UnreadableError:
        return False


@contextmanager
def reading_errors(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with ``path`` into one line that names it and says what to do."""
    try:
        yield
    except InputError:
        raise
    except HoldsCodeError as error:
        raise InputError(
            f"{path}: it holds more than tensors ({_shown(str(error))}) and was not loaded, because loading"
            f" would run code from the file; {_remedy(path, _STATE_ALONE)}"
        ) from error
    except UnreadableError as error:
        advice = "" if ";" in str(error) else f"; {_remedy(path, _AGAIN)}"
        raise InputError(f"{path}: cannot be read: {_shown(str(error), 300)}{advice}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (MemoryError, RecursionError) as error:
        raise InputError(f"{path}: too large or too deeply nested to be read here") from error


def _shown(text: str, length: int = 80) -> str:
    """Text from a file, safe to print."""
    return "".join(character if character.isprintable() else "?" for character in text[:length])


def _remedy(path: Path, otherwise: str) -> str:
    """What makes a file that can be read of one that cannot."""
    target = shlex.quote(f"{path.stem or 'checkpoint'}.pt")
    if (path / METADATA).is_file():
        command = f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {shlex.quote(str(path))} {target}"
        return f"if you trust it, convert it: {command}"
    calls = {
        "exported": "torch.export.load({!r}).state_dict",
        "scripted": "torch.jit.load({!r}).state_dict()",
    }
    found = calls.get(_zip_kind(path))
    if found is None:
        return otherwise
    return (
        f"if you trust it: import torch; torch.save({found.format(str(path))}, {path.stem + '-state.pt'!r})"
    )


def _zip_kind(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            archive = Archive(stream)
            if is_exported(archive):
                return "exported"
            return "scripted" if any(name.endswith("/constants.pkl") for name in archive.names()) else "other"
    except (OSError, UnreadableError):
        return "none"


@contextmanager
def open_tree(path: Path) -> Iterator[TensorTree]:
    """Describe a checkpoint for as long as its file is open; nothing in it runs.

    Raises:
        InputError: it is missing, empty, damaged, holds code, or is of an unknown kind.
    """
    with reading_errors(path):
        if path.is_dir():
            with ExitStack() as files:
                yield _folder(path, files)
            return
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        kind = kind_of(path)
        if kind == "empty":
            raise InputError(f"{path}: the file is empty; {_AGAIN}")
        if kind == "unknown":
            raise InputError(
                f"{path}: neither a safetensors file nor one that torch.save made"
                " (or cut off at its start); give a checkpoint"
            )
        if kind == "safetensors":
            yield open_safetensors(path)
            return
        with path.open("rb") as stream:
            if kind == "zip":
                archive = Archive(stream)
                if is_exported(archive):
                    yield open_exported(archive)
                    return
                stream.seek(0)
            file = TorchFile(stream)
            yield TensorTree(file.tree, file.tensor, ordered=True, mapped=file.mapped)


def _folder(path: Path, files: ExitStack) -> TensorTree:
    if (path / METADATA).is_file():
        return open_distributed(path)
    if is_hugging_face(path):
        return open_hugging_face(path, lambda file: files.enter_context(open_tree(file)))
    raise InputError(f"{path}: is a folder and no checkpoint itself; name the files in it")
