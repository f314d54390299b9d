"""Files of ``torch.save`` and ``torch.jit.save``: described without running them, tensors read when asked for."""

from __future__ import annotations

import io
import re
import struct
from typing import IO, Any

import torch

from probes.checkpoints.budget import Budget
from probes.checkpoints.pickles import Called, Name, UnreadableError, Window, read_pickle
from probes.checkpoints.scripted import state_of_module
from probes.checkpoints.tensor_tree import Unsuitable
from probes.checkpoints.tensors import Buffer, StorageRef, TensorReader, TensorRef
from probes.checkpoints.zip_archive import Archive

__all__ = ["TorchFile", "is_harmless", "make_plain"]

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LONGEST_KEY = 1000  # letters of a storage's
_DTYPES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64,
    "QInt8": torch.qint8, "QInt32": torch.qint32, "QUInt8": torch.quint8,
    "QUInt4x2": torch.quint4x2, "QUInt2x4": torch.quint2x4, "Untyped": torch.uint8,
}  # fmt: skip

_HARMLESS = re.compile(
    r"torch\.(\w+Storage|storage\.\w+Storage|Size|device|Tensor|(cuda\.)?\w+Tensor|per_\w+|strided|sparse_\w+"
    r"|(float|bfloat|int|uint|complex|bool|half|double|long|short|q|bits)\w*|torch_version\.TorchVersion"
    r"|_utils\._rebuild_\w+|_tensor\._rebuild_from_type_v2|serialization\._get_layout|jit\._pickle\.\w+"
    r"|nn\.parameter\.\w+)"
    r"|__torch__\.[\w.]+"
    r"|collections\.(OrderedDict|defaultdict|Counter|deque)"
    r"|(builtins|__builtin__)\.(set|frozenset|list|dict|tuple|int|float|bool|str|bytes|bytearray|complex|slice"
    r"|range|object)"
    r"|_codecs\.encode|copyreg\._reconstructor|copy_reg\._reconstructor"
    r"|numpy\.(dtype|ndarray|(_?core)\.multiarray\.(scalar|_reconstruct)|(_?core)\.numeric\._frombuffer)"
    r"|numpy\.(dtypes\.\w+|float64|float32|int64|int32|bool_?)"
    r"|argparse\.Namespace|types\.SimpleNamespace|datetime\.\w+|decimal\.Decimal|fractions\.Fraction|uuid\.UUID"
    r"|pathlib\.\w*Path|pathlib\._local\.\w*Path"
    r"|(pytorch_lightning|lightning|lightning_fabric|lightning_utilities|omegaconf)\.[\w.]+|typing\.Any"
)
_REBUILT = {"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}


def is_harmless(path: str) -> bool:
    """Whether a name is one that weights and the settings beside them are usually saved with.

    Nothing is imported or called either way; a file with any other name is refused rather than half understood.
    """
    return _HARMLESS.fullmatch(path) is not None


class TorchFile:
    """What a file of ``torch.save`` says, and its tensors on demand.

    Attributes:
        tree: dictionaries, lists, numbers, text, tensors to read and :class:`probes.checkpoints.pickles.Called`;
            of a TorchScript archive its module's state_dict.
        tensor: reads a tensor (see :meth:`probes.checkpoints.tensors.TensorReader.tensor`).
        mapped: the same, mapped from the file where that can be.
    """

    def __init__(self, stream: IO[bytes], budget: Budget | None = None) -> None:
        """Describe the file; no tensor is read.

        Args:
            stream: the file.
            budget: what it may cost, where it is a part of another; else that of a file of its size.

        Raises:
            probes.checkpoints.pickles.HoldsCodeError: loading it would run code.
            UnreadableError: it is damaged, or claims more than it has.
        """
        head = stream.read(4)
        stream.seek(0)
        source: _Zipped | _Legacy
        if budget is None:
            budget = Budget(stream.seek(0, io.SEEK_END))
            stream.seek(0)
        source = _Zipped(Archive(stream), budget) if head.startswith(b"PK") else _Legacy(stream, budget)
        self.tree = source.tree
        self.tensor = self.mapped = TensorReader(source, budget).tensor
        if isinstance(source, _Zipped):
            self.mapped = TensorReader(_Mapped(source), budget).tensor


class _Zipped:
    """A zip archive of torch 1.6 and later, or of TorchScript."""

    def __init__(self, archive: Archive, budget: Budget) -> None:
        self.archive = archive
        names = archive.names()
        roots = [name.removesuffix("data.pkl") for name in names if name.count("/") == 1]
        self.root = next((root for root in roots if f"{root}data.pkl" in archive), None) or ""
        if f"{self.root}data.pkl" not in archive or not self.root:
            raise UnreadableError("a zip archive, but none of torch's (no data.pkl in it)")
        order = f"{self.root}byteorder"
        if order in archive and archive.read(order, limit=16) != b"little":
            raise UnreadableError("written on a big-endian machine; load it there and save as safetensors")
        pickled = archive.read(f"{self.root}data.pkl", limit=1 << 28)
        self.tree = read_pickle(
            io.BytesIO(pickled), budget, allowed=is_harmless, make=make_plain, persistent=self._persistent
        )
        if f"{self.root}constants.pkl" in archive:
            self.tree = state_of_module(archive, self.root, self.tree)

    def _persistent(self, reference: Any) -> StorageRef:
        found = _storage_ref(reference)
        have = self.archive.entry_size(f"{self.root}data/{found.key}")
        claimed = found.count * found.dtype.itemsize
        if not claimed <= have < claimed + found.dtype.itemsize:
            raise UnreadableError(f"storage {found.key[:40]} has {have} bytes, but claims {claimed}")
        return found

    def storage(self, key: str, length: int) -> bytearray:
        name = f"{self.root}data/{key}"
        buffer = bytearray(self.archive.entry_size(name))
        self.archive.read_into(name, memoryview(buffer))
        return buffer


class _Mapped:
    """The storages of a zip archive where they are in the file."""

    def __init__(self, zipped: _Zipped) -> None:
        self.zipped = zipped

    def storage(self, key: str, length: int) -> Buffer:
        found = self.zipped.archive.mapped(f"{self.zipped.root}data/{key}")
        return self.zipped.storage(key, length) if found is None else found


class _Legacy:
    """Pickles one after another and then the storages, as torch wrote before 1.6."""

    def __init__(self, stream: IO[bytes], budget: Budget) -> None:
        self.stream, self.budget = stream, budget
        self.size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        window = Window(stream, min(self.size, 1 << 28))
        self.widths: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        if self._pickle(window) != _MAGIC or self._pickle(window) != _PROTOCOL:
            raise UnreadableError("a pickle, but none of torch's")
        about = self._pickle(window)
        if isinstance(about, dict) and about.get("little_endian") is False:
            raise UnreadableError("written on a big-endian machine; load it there and save as safetensors")
        self.tree = self._pickle(window)
        keys = self._pickle(window)
        if not isinstance(keys, list):
            raise UnreadableError("its list of storages is damaged")
        self.places: dict[str, tuple[int, int]] = {}
        place = stream.tell()
        for key in map(_storage_key, keys):
            if key in self.places:
                raise UnreadableError("its list of storages is damaged")
            stream.seek(place)
            head = stream.read(8)
            if key not in self.widths or len(head) < 8:
                raise UnreadableError("its list of storages is longer than the file")
            (count,) = struct.unpack("<q", head)
            length = count * self.widths[key]
            if count != self.counts[key] or place + 8 + length > self.size:
                raise UnreadableError(
                    f"a storage claims {self.counts[key]} numbers, which are not in the file"
                )
            self.places[key] = (place + 8, length)
            place += 8 + length

    def _pickle(self, window: Window) -> Any:
        return read_pickle(
            window, self.budget, allowed=is_harmless, make=make_plain, persistent=self._persistent
        )

    def _persistent(self, reference: Any) -> Any:
        if isinstance(reference, tuple) and reference[:1] == ("module",):
            return reference[1]
        if not isinstance(reference, tuple) or len(reference) != 6:
            raise UnreadableError("a reference to a storage is damaged")
        found = _storage_ref(reference[:5])
        if self.counts.setdefault(found.key, found.count) != found.count or found.count > self.size:
            raise UnreadableError(f"a storage claims {found.count} numbers, which are not in the file")
        self.widths[found.key] = found.dtype.itemsize
        if reference[5] is None:
            return found
        _, start, count = reference[5]
        if not (_is_size(start) and _is_size(count) and start + count <= found.count):
            raise UnreadableError("a view lies outside of its storage")
        return StorageRef(found.key, found.dtype, count, start)

    def storage(self, key: str, length: int) -> bytearray:
        if key not in self.places or self.places[key][1] < length:
            raise UnreadableError(f"storage {key[:40]} is not in the file")
        place, whole = self.places[key]
        self.stream.seek(place)
        buffer = bytearray(whole)
        if self.stream.readinto(buffer) != whole:  # type: ignore[attr-defined]
            raise UnreadableError("the file is cut off")
        return buffer


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _storage_key(value: Any) -> str:
    """The name of a storage, which is short text or a number."""
    if (isinstance(value, str) and len(value) <= _LONGEST_KEY) or _is_size(value):
        return str(value)
    raise UnreadableError("the name of a storage is damaged")


def _storage_ref(reference: Any) -> StorageRef:
    """What ``("storage", type, key, location, count)`` says."""
    if not isinstance(reference, tuple) or len(reference) != 5 or reference[0] not in ("storage", b"storage"):
        raise UnreadableError("a reference to a storage is damaged")
    _, kind, key, _, count = reference
    name = kind.path.rsplit(".", 1)[-1].removesuffix("Storage") if isinstance(kind, Name) else ""
    if name not in _DTYPES or not _is_size(count):
        raise UnreadableError("a reference to a storage is damaged")
    return StorageRef(_storage_key(key), _DTYPES[name], count)


def make_plain(name: str, arguments: tuple[Any, ...]) -> Any:
    """What stands for the call of a name: a tensor to be read, a dictionary, or a record of the call.

    Raises:
        UnreadableError: the arguments of a tensor make none.
    """
    short = name.removeprefix("torch._utils.").removeprefix("torch._tensor.")
    try:
        if short == "_rebuild_tensor_v3":
            return _tensor_ref(*arguments[:4], dtype=_dtype(arguments[6]), lazy=arguments[7:8])
        if short in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _tensor_ref(*arguments[:4], lazy=arguments[6:7])
        if short in ("_rebuild_parameter", "_rebuild_parameter_with_state", "torch.nn.parameter.Parameter"):
            return arguments[0]
        if short == "_rebuild_from_type_v2":
            function, kind, inner, _ = arguments
            nested = function.path.endswith("_from_type_v2")
            if kind.path in _REBUILT and function.path.startswith("torch._utils.") and not nested:
                return make_plain(function.path, inner)
            return Unsuitable((), f"a {kind.path}")
        if short.startswith("_rebuild_"):
            return Unsuitable((), _UNSUITABLE.get(short, "of an unusual kind"))
        if name in ("collections.OrderedDict", "collections.Counter", "collections.defaultdict"):
            pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
            return {key: value for key, value in pairs if isinstance(key, str) or _is_size(key)}
        if name in ("torch.Size", "torch.jit._pickle.restore_type_tag"):
            return arguments[0] if arguments else ()
        return Called(name, arguments)
    except UnreadableError:
        raise
    except (TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise UnreadableError(f"{name} in its pickle has the wrong arguments") from error


_UNSUITABLE = {
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_qtensor": "quantised",
    "_rebuild_meta_tensor_no_storage": "on the meta device and without values",
    "_rebuild_nested_tensor": "nested",
}


def _dtype(value: Any) -> torch.dtype:
    found = getattr(torch, value.path.rsplit(".", 1)[-1], None) if isinstance(value, Name) else None
    if not isinstance(found, torch.dtype):
        raise UnreadableError("a tensor has no type of numbers")
    return found


def _tensor_ref(
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    *,
    dtype: torch.dtype | None = None,
    lazy: tuple[Any, ...] = (),
) -> TensorRef | Unsuitable:
    if not isinstance(storage, StorageRef) or not _is_size(offset) or len(shape) != len(stride):
        raise UnreadableError("a tensor in its pickle is damaged")
    if len(shape) > 64 or not all(_is_size(value) for value in (*shape, *stride)):
        raise UnreadableError("a tensor in its pickle has an impossible shape")
    if lazy and lazy[0]:
        return Unsuitable((), "conjugated or negated without its values")
    kind = dtype or storage.dtype
    if "q" in str(kind).partition(".")[2]:
        return Unsuitable((), "quantised")
    return TensorRef(tuple(shape), storage, offset, tuple(stride), kind)
