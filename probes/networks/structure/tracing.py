"""A forward pass watched: every torch function that is called, with what it was given and what it gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Arguments", "Call", "Results", "Watch", "data_uses", "tensors_in"]

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """One call of a torch function.

    Attributes:
        function: what was called.
        args: its arguments by place.
        kwargs: its arguments by name.
        result: what it gave.
        given: the tensors in its arguments, each with the number of changes in place that it had seen before.
        gave: the tensors in its result, each with that number afterwards.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    given: list[tuple[Tensor, int]]
    gave: list[tuple[Tensor, int]]

    @property
    def name(self) -> str:
        """The function's name; of a property such as ``.T`` the property's."""
        function: Any = self.function
        name = getattr(function, "__name__", "")
        return str(getattr(function.__self__, "__name__", "") if name == "__get__" else name)


class Watch(TorchFunctionMode):
    """Keeps the calls of torch functions in order; functions called inside of one are not seen.

    This sees what ``torch.fx`` has to guess: real shapes, the branch that Python code took, functional calls and
    methods alike. What is not seen (a scripted or compiled layer, an autograd function of the user's own) leaves
    tensors behind that no call gave. Tensors are held as long as the calls are, so that their ids stay theirs.
    """

    def __init__(self) -> None:
        """Begin without any."""
        super().__init__()
        self.calls: list[Call] = []

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call it, and remember."""
        kwargs = kwargs or {}
        given = [(tensor, tensor._version) for tensor in tensors_in((args, kwargs))]
        result = function(*args, **kwargs)
        gave = [(tensor, tensor._version) for tensor in tensors_in(result)]
        self.calls.append(Call(function, args, kwargs, result, given, gave))
        return result


class Arguments(TorchFunctionMode):
    """Keeps copies of the first arguments of some calls, counted among those that give tensors."""

    def __init__(self, wanted: Iterable[int]) -> None:
        """Take the numbers of the calls, from 0."""
        super().__init__()
        self.wanted, self.found, self._count = set(wanted), dict[int, Tensor](), 0

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call it, and remember what it was given, which it may change in place."""
        kwargs = kwargs or {}
        given = None
        if self._count in self.wanted:
            given = next((tensor.detach().clone() for tensor in tensors_in((args, kwargs))), None)
        result = function(*args, **kwargs)
        if next(tensors_in(result), None) is not None:
            if given is not None:
                self.found[self._count] = given
            self._count += 1
        return result


class Results(TorchFunctionMode, Generic[T]):
    """Looks at the results of some calls as soon as they are there, before anything changes them in place."""

    def __init__(self, wanted: Iterable[tuple[int, int]], look: Callable[[Tensor], T]) -> None:
        """Take the numbers of the calls among those that give tensors, and of the tensors in what they give."""
        super().__init__()
        self.wanted, self.look = dict(wanted), look
        self.found, self._count = dict[int, T](), 0

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call it, and look."""
        result = function(*args, **(kwargs or {}))
        tensors = list(tensors_in(result))
        if tensors:
            if self._count in self.wanted:
                self.found[self._count] = self.look(tensors[self.wanted[self._count]])
            self._count += 1
        return result


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def data_uses(calls: list[Call], parameters: dict[int, str], data: list[Tensor]) -> dict[str, int]:
    """How often each parameter meets the data: once a call, in a recurrent layer's call once a time step.

    A tensor that is made of parameters alone (a transposed or normed weight) stands for these.

    Args:
        calls: of one forward pass.
        parameters: their names by the tensors' ids.
        data: what the network was given.
    """
    made = {key: {name} for key, name in parameters.items()}
    seen = {id(tensor) for tensor in data}
    found: dict[str, int] = {}
    for call in calls:
        names = set().union(*(made.get(id(tensor), set()) for tensor, _ in call.given))
        if any(id(tensor) in seen for tensor, _ in call.given):
            seen |= {id(tensor) for tensor, _ in call.gave}
            times = _time_steps(call) if names and call.gave else 1
            for name in names if call.gave else ():
                found[name] = found.get(name, 0) + times
        elif names:
            made |= {id(tensor): names for tensor, _ in call.gave if id(tensor) not in parameters}
    return found


def _time_steps(call: Call) -> int:
    """How many steps a whole recurrent layer takes in one call: the sequence's length; 1 for any other function."""
    if call.name not in ("rnn_tanh", "rnn_relu", "lstm", "gru"):
        return 1
    if isinstance(call.args[2], list | tuple):  # (input, state, weights, …, batch_first)
        return int(call.args[0].shape[1 if call.args[-1] else 0])
    return len(call.args[1])  # a packed sequence: (input, batch sizes, state, weights, …)
