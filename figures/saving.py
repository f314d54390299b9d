"""Saving a figure and the numbers that it drew: whole files or none, the same bytes for the same figure."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figures import style
from figures.fonts import fonts_without_shaping
from figures.ticks import MinorTicks

__all__ = ["FORMATS", "save_figure", "write_whole"]

_DOTS_PER_INCH = 200
_METADATA: dict[str, dict[str, Any]] = {  # None keeps matplotlib from writing its version or the time
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}
FORMATS = tuple(_METADATA)
"""What a figure can be saved as."""


def write_whole(path: Path, content: bytes) -> None:
    """Write beside ``path``, then rename: the file is whole or not there.

    Raises:
        OSError: it cannot be written, or no plain file is there but a link, a device or the like.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise FileExistsError(f"{path}: is not a plain file, and is left alone; name another file")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are for their owner alone
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save_figure(
    figure: Figure,
    path_stem: Path,
    numbers: pd.DataFrame,
    *,
    formats: Sequence[str] = ("png", "pdf"),
    write: Callable[[Path, bytes], object] = write_whole,
) -> list[Path]:
    """Save ``figure`` in each format, and the numbers that it drew as CSV.

    A file appears only when it is complete, so an interruption leaves the former one. The same figure gives
    the same bytes: no time and no random ids are written.

    Args:
        figure: to save.
        path_stem: folder and name; each file adds its ending. The folder is made if it is missing.
        numbers: what the figure drew.
        formats: of ``FORMATS``.
        write: writes one whole file or none, and raises if it cannot.

    Returns:
        The files written: the formats in the order given, then the CSV.

    Raises:
        ValueError: an unknown format (then nothing is written).
        OSError: a file cannot be written.
    """
    unknown = [name for name in formats if name not in _METADATA]
    if unknown:
        raise ValueError(f"unknown figure format {unknown[0]!r}: known are {', '.join(FORMATS)}")
    path_stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    with _laid_out(figure):
        for name in formats:
            content = io.BytesIO()
            with style.context(), fonts_without_shaping():
                figure.savefig(content, format=name, dpi=_DOTS_PER_INCH, metadata=_METADATA[name])
            written.append(_with_ending(path_stem, name))
            write(written[-1], content.getvalue())
    text = numbers.to_csv(index=False, lineterminator="\n", na_rep="nan")
    written.append(_with_ending(path_stem, "csv"))
    write(written[-1], text.encode())
    return written


@contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """A figure that is laid out once for all formats, and drawn once for each.

    With a layout engine, even with one that does nothing, matplotlib draws everything twice. The canvas is that of
    PNGs, whose measures of texts then serve both the layout and the PNG.
    """
    engine, canvas, dpi = figure.get_layout_engine(), figure.canvas, figure.dpi
    FigureCanvasAgg(figure)
    with style.context():
        minor = MinorTicks(figure)
    try:
        if engine is not None:
            figure.dpi = _DOTS_PER_INCH
            with style.context(), minor.hidden():
                engine.execute(figure)
            with mpl.rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
                figure.set_layout_engine(None)
        with style.context(), minor.as_marks():
            yield
    finally:
        figure.dpi = dpi
        figure.set_canvas(canvas)


def _with_ending(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}.{ending}")  # with_suffix would cut a name with a dot in it


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
