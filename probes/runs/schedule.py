"""When a training run saves checkpoints."""

from __future__ import annotations

from probes.choices import MOST_CHECKPOINTS
from probes.errors import InputError, mention

__all__ = ["checkpoint_steps"]

_PAPER_SHALLOW = "0:0,0:12,0:24,0:48,0:96,1,3,5,7,9"


def checkpoint_steps(spec: str, *, epochs: int, epoch_steps: int, shallow: bool) -> list[int]:
    """The steps before which a checkpoint is saved, so that 0 is the initial network.

    Args:
        spec: a number n (n checkpoints from the first to the last step, evenly spaced), ``paper`` (the
            published schedule), or a comma list of ``epoch`` and ``epoch:batch``.
        epochs: how many epochs there are; an epoch of that number is the end of training.
        epoch_steps: steps in an epoch.
        shallow: whether ``paper`` means the schedule of the 2-layer and the residual network.

    Raises:
        InputError: it cannot be read, or lies beyond the end.
    """
    total = epochs * epoch_steps
    text = spec.strip()
    if text == "paper":
        text = _PAPER_SHALLOW if shallow else ",".join(str(epoch) for epoch in range(10))
    fix = "give a number, paper, or a list such as 0:0,0:12,1,3"
    try:
        if text.isdecimal():
            count = int(text)
            if not 1 <= count <= min(total + 1, MOST_CHECKPOINTS):
                fit = (
                    f"from 1 to {total + 1} fit into {total} steps, and at most {MOST_CHECKPOINTS} are saved"
                )
                raise InputError(f"{mention('checkpoints', spec)}: {fit}")
            if count == 1:
                return [total]
            return sorted({round(place * total / (count - 1)) for place in range(count)})
        steps: set[int] = set()
        for part in text.split(","):
            epoch, _, batch = part.partition(":")
            steps.add(int(epoch) * epoch_steps + int(batch or "0"))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{mention('checkpoints', spec)}: not a schedule; {fix}") from error
    if not steps or min(steps) < 0 or max(steps) > total:
        raise InputError(
            f"{mention('checkpoints', spec)}: there are only {epochs} epochs of {epoch_steps} steps; {fix}"
        )
    return sorted(steps)
