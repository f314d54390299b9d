"""Pickles, read as text: a description of what is in them, and nothing in them is ever called or imported.

The opcodes are parsed by :mod:`pickletools`, which runs nothing. Names of classes and functions stay names, and
a call stays a record of a call; only those that ``torch.save`` writes around tensors are understood.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from probes.checkpoints.budget import Budget, UnreadableError

__all__ = ["Called", "HoldsCodeError", "Name", "UnreadableError", "Window", "read_pickle"]

LARGEST_PICKLE = 1 << 28  # bytes; the weights are not among them
MOST_OPCODES = 2_000_000
_LONGEST_LINE = 1 << 16
_LONGEST_NAME = 1000  # characters of a class's or function's
_STEP, _ITEM, _CALL = 64, 16, 320  # bytes that an opcode, a copied item and the record of a call take at most


class HoldsCodeError(UnreadableError):
    """Loading would import or call something; the message is its name."""


@dataclass(frozen=True)
class Name:
    """What a pickle would import."""

    path: str


@dataclass(eq=False)
class Called:
    """What a pickle would make by a call: the name called, its arguments, and the state set afterwards."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


class Window:
    """The next ``limit`` bytes of a stream, which never hands out, nor makes room for, more than there are."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        """Start where ``stream`` stands."""
        self._stream = stream
        self.left = limit

    def read(self, count: int = -1) -> bytes:
        """At most ``count`` bytes."""
        found = self._stream.read(self.left if count < 0 else min(count, self.left))
        self.left -= len(found)
        return found

    def readline(self) -> bytes:
        """A line, cut off where it is longer than any that torch writes."""
        found = self._stream.readline(min(self.left, _LONGEST_LINE))
        self.left -= len(found)
        return found


def read_pickle(
    stream: Window | IO[bytes],
    budget: Budget,
    *,
    allowed: Callable[[str], bool],
    make: Callable[[str, tuple[Any, ...]], Any],
    persistent: Callable[[Any], Any],
) -> Any:
    """Describe the next pickle of ``stream``; dictionaries, lists, tuples, numbers and text become themselves.

    Args:
        stream: bytes, left just after the pickle.
        budget: of the file; everything that is made is paid for from it.
        allowed: whether a dotted name may be in it; any other ends the reading.
        make: what stands for a call of a name with arguments (it may return :class:`Called`).
        persistent: what stands for a reference to something outside of the pickle.

    Raises:
        HoldsCodeError: a name that is not allowed is in it.
        UnreadableError: it is not a whole pickle, or larger or stranger than any of weights.
    """
    if not isinstance(stream, Window):
        stream = Window(stream, LARGEST_PICKLE)
    machine = _Machine(budget, allowed, make, persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
            if opcode.name == "STOP":
                break
            if count > MOST_OPCODES:
                raise UnreadableError(f"its pickle has more than {MOST_OPCODES} steps, beside the weights")
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except UnreadableError:
        raise
    except IndexError as error:
        raise UnreadableError("its pickle takes from an empty stack") from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise UnreadableError(f"its pickle is damaged: {str(error)[:100]}") from error


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
}
_SAME = ("PROTO", "FRAME")
_VALUES = frozenset(
    """INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE
    BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8""".split()  # noqa: SIM905
)


class _Machine:
    """The stack and the memo of the pickle language."""

    def __init__(
        self,
        budget: Budget,
        allowed: Callable[[str], bool],
        make: Callable[[str, tuple[Any, ...]], Any],
        persistent: Callable[[Any], Any],
    ) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.spend = budget.spend
        self.allowed, self.make, self.persistent = allowed, make, persistent

    def step(self, name: str, argument: Any) -> None:
        """Carry out one opcode."""
        stack = self.stack
        self.spend(_STEP + (len(argument) if isinstance(argument, str | bytes | bytearray) else 0))
        if name in _VALUES:
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            self.stack.append(tuple(self.take(int(name[-1]))))
        elif name in ("TUPLE", "FROZENSET"):
            items = self.since_mark()
            self.stack.append(tuple(items))
        elif name in ("LIST", "DICT"):
            items = self.since_mark()
            self.stack.append([] if name == "LIST" else {})
            self.extend(items) if name == "LIST" else self.fill(items)
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            self.extend(self.take(1) if name == "APPEND" else self.since_mark())
        elif name in ("SETITEM", "SETITEMS"):
            self.fill(self.take(2) if name == "SETITEM" else self.since_mark())
        elif name == "GLOBAL":
            self.refer(".".join(argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            module, attribute = self.take(2)
            if not isinstance(module, str) or not isinstance(attribute, str):
                raise UnreadableError("its pickle has a name that is no text")
            self.refer(f"{module}.{attribute}")
        elif name in ("REDUCE", "NEWOBJ"):
            called, arguments = self.take(2)
            self.call(called, arguments)
        elif name == "NEWOBJ_EX":
            called, arguments, named = self.take(3)
            self.call(called, arguments, named)
        elif name == "BUILD":
            (state,) = self.take(1)
            if isinstance(self.stack[-1], Called):
                self.stack[-1].state = state
        elif name == "BINPERSID":
            (reference,) = self.take(1)
            self.stack.append(self.persistent(reference))
        elif name == "PERSID":
            self.stack.append(self.persistent(argument))
        elif name == "POP":
            self.take(1)
        elif name == "POP_MARK":
            self.since_mark()
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        elif name in ("INST", "OBJ"):
            items = self.since_mark()
            called = Name(".".join(argument.split(" ", 1))) if name == "INST" else items.pop(0)
            if name == "INST":
                self.check(called.path)
            self.call(called, tuple(items))
        elif name not in _SAME:
            raise UnreadableError(f"its pickle has an opcode {name}, which no weights need")

    def take(self, count: int) -> list[Any]:
        """The last ``count`` things, off the stack."""
        if len(self.stack) < count:
            raise IndexError
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def since_mark(self) -> list[Any]:
        """Everything since the last mark, off the stack."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def extend(self, items: list[Any]) -> None:
        """Put items into the list (or whatever stands for an object that is filled like one)."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Called):
            raise UnreadableError(f"its pickle appends to a {type(target).__name__}")

    def fill(self, items: list[Any]) -> None:
        """Put pairs into the mapping."""
        target = self.stack[-1]
        if isinstance(target, Called):
            target = target.items
        if not isinstance(target, dict) or len(items) % 2:
            raise UnreadableError(f"its pickle sets items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_plain_key(key)] = value

    def check(self, path: str) -> None:
        """See that a name may be there."""
        self.spend(len(path))
        if len(path) > _LONGEST_NAME:
            raise UnreadableError(f"its pickle has a name of {len(path)} letters")
        if not self.allowed(path):
            raise HoldsCodeError(path)

    def refer(self, path: str) -> None:
        """A name, if it may be there."""
        self.check(path)
        self.stack.append(Name(path))

    def call(self, called: Any, arguments: Any, *more: Any) -> None:
        """A record of a call, whose arguments may be copied."""
        if not isinstance(called, Name) or not isinstance(arguments, tuple):
            raise UnreadableError(f"its pickle calls a {type(called).__name__}")
        copied = len(arguments) + sum(len(one) for one in arguments if isinstance(one, list))
        self.spend(_CALL + _ITEM * copied)
        self.stack.append(self.make(called.path, (*arguments, *more)))


def _plain_key(key: Any) -> Any:
    """The key itself where it hashes at once; something that stands for it where that could take long.

    Raises:
        UnreadableError: it is of a kind that no key is.
    """
    if key is None or isinstance(key, str | bytes | float | Name | Called):
        return key
    if isinstance(key, int):
        return key if abs(key) < 1 << 63 else Called("int", (key,))
    if isinstance(key, tuple):  # the same ones may be in it again and again, at every level
        return Called("tuple", (key,))
    raise UnreadableError(f"its pickle has a mapping with a {type(key).__name__} for a key")
