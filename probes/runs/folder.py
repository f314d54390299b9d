"""A run's folder: one NetCDF file a checkpoint, and a manifest that says what run it is.

The layout is ``run.json`` and ``slices/0000.nc``, ``0001.nc``, … in training order. Every file is complete or
absent, carries its schema and its own checksum, and every slice says what run it belongs to.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import xarray as xr

from probes.choices import CHOICES
from probes.errors import InputError
from probes.runs.slice_form import check_form
from probes.system.files import make_folder, remove_leftovers, write_atomically, writing_errors
from probes.system.json_files import read_json
from probes.system.locks import FolderLock, claim_folder
from probes.system.seals import ATTRIBUTE, BLANK, digest_of, seal, seal_holds

__all__ = ["SCHEMA", "RunFolder", "read_manifest", "read_slice", "slice_files"]

SCHEMA = 2
"""What is written, and read."""

_SLICE = re.compile(r"[0-9]{4}\.nc")
_RUN = "run_hash"  # the slice's attribute that says which run it is of, by the digest of its identity


class RunFolder:
    """Where a run's measurements are kept while it goes and afterwards.

    One process of a run opens the folder, and holds its lock until it closes it; further processes of the same run
    attach to it. Each may write slices of its own, at the same time.
    """

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is touched yet."""
        self.path = path
        self.manifest_path = path / "run.json"
        self._lock: FolderLock | None = None
        self._manifest: dict[str, Any] | None = None

    def __fspath__(self) -> str:
        """The folder's path, so that :func:`probes.load` and anything else that takes one takes this."""
        return str(self.path)

    def recorded(self) -> dict[str, Any] | None:
        """The manifest with the ``identity`` and ``details`` of the run that is in the folder; None where none is.

        Raises:
            InputError: it is damaged, or a newer version wrote it.
        """
        return read_manifest(self.path) if self.manifest_path.is_file() else None

    def begun(self) -> dict[str, Any] | None:
        """As :meth:`recorded`, and None where nothing is measured yet: what settled that run binds no other."""
        return self.recorded() if slice_files(self.path) else None

    def open(self, identity: Mapping[str, Any], details: Mapping[str, Any]) -> Self:
        """Create the folder for the run of this identity, or continue it, as its only writer.

        The lock is held until :meth:`close`, or the end of a ``with`` block. What a killed process left unfinished
        is removed, and a folder in which another run measured nothing yet is taken over.

        Args:
            identity: everything that decides the numbers; a folder continues only the run with the same one.
            details: what else to record (the command, versions).

        Returns:
            The folder itself.

        Raises:
            InputError: it holds something else, another process is writing into it, or it cannot be written.
        """
        wanted = json.loads(json.dumps(identity))
        self._lock = claim_folder(self.path, lambda: self._refuse_another(wanted))
        try:
            found = self.recorded()
            if found is None or found["identity"] != wanted:  # of a run that measured nothing
                found = {"schema": SCHEMA, "identity": wanted, "details": json.loads(json.dumps(details))}
                found[ATTRIBUTE] = digest_of(found)
                write_atomically(self.manifest_path, (json.dumps(found, indent=1) + "\n").encode())
            self._manifest = found
            remove_leftovers(make_folder(self.path / "slices"))
        except BaseException:
            self.close()
            raise
        return self

    def attach(self) -> Self:
        """Take part in the run that another process has opened, without its lock.

        Returns:
            The folder itself.

        Raises:
            InputError: there is no run in it, or its manifest is damaged.
        """
        self._manifest = read_manifest(self.path)
        return self

    def close(self) -> None:
        """Let other processes write into the folder. What was measured can still be read."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        """The folder itself, to be closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def slice_path(self, index: int) -> Path:
        """The file of the checkpoint at place ``index`` in training order."""
        return self.path / "slices" / f"{index:04d}.nc"

    def has_slice(self, index: int) -> bool:
        """Whether that checkpoint was measured; a damaged file is named rather than trusted.

        Raises:
            InputError: the file is there and cannot be read.
        """
        path = self.slice_path(index)
        if not path.is_file():
            return False
        read_slice(path, self._known()["identity"])
        return True

    def write_slice(self, index: int, measurements: xr.Dataset) -> None:
        """Keep one checkpoint's measurements. Several processes may do so at once, each for its own checkpoints.

        Raises:
            InputError: they cannot be written; then no file is there.
        """
        own = {ATTRIBUTE: BLANK, "schema": SCHEMA, _RUN: digest_of(self._known()["identity"])}
        written = measurements.copy(deep=False)
        written.attrs = {**own, **measurements.attrs, **own}  # the seal's place is before any other text
        write_atomically(self.slice_path(index), seal(bytes(written.to_netcdf(engine="scipy"))))

    def _known(self) -> dict[str, Any]:
        if self._manifest is None:
            raise RuntimeError("open or attach the folder first")
        return self._manifest

    def check(self, identity: Mapping[str, Any]) -> None:
        """Refuse what :meth:`open` would refuse, without creating anything.

        Raises:
            InputError: the folder holds something else, or cannot be written.
        """
        with writing_errors(self.path):
            self._refuse_another(json.loads(json.dumps(identity)))
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"{self.path}: is a file, not a folder; choose another `out`")
            there = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
            if not there.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(there, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _refuse_another(self, identity: dict[str, Any]) -> None:
        """Refuse, without touching it, a folder that holds something else than the run of this identity.

        Raises:
            InputError: it does.
        """
        found = self.recorded()
        if found is not None:
            existing = found["identity"]
            if existing != identity and slice_files(self.path):
                differs = sorted(
                    name for name in {*existing, *identity} if existing.get(name) != identity.get(name)
                )
                raise InputError(
                    f"{self.path}: holds another run's results (other {', '.join(differs[:4])});"
                    " choose another `out`"
                )
            return
        if self.path.is_dir() and any(not entry.name.startswith(".") for entry in self.path.iterdir()):
            files = slice_files(self.path)
            if not files or not all(_is_sealed(file) for file in files):
                raise InputError(f"{self.path}: is not empty and holds no run of ours; choose another `out`")
            for file in files:  # a run that lost its manifest goes on, if every slice is of this very run
                read_slice(file, identity)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The contents of a run's ``run.json``.

    Raises:
        InputError: there is none, or it is damaged, or a newer version wrote it.
    """
    path = folder / "run.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that probe run wrote")
    if not path.is_file():
        inside = sorted(entry for entry in folder.iterdir() if (entry / "run.json").is_file())
        hint = f"; {inside[0]} does" if inside else ""
        raise InputError(f"{folder}: holds no results of probe run (no run.json in it){hint}")
    try:
        content = read_json(path)
        schema = content["schema"]
        if type(schema) is not int or schema < SCHEMA:
            raise ValueError(f"schema {schema!r}")
        if (schema == SCHEMA or ATTRIBUTE in content) and content[ATTRIBUTE] != digest_of(content):
            raise ValueError("its checksum does not fit")
        if schema == SCHEMA:
            _check_identity(content["identity"])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged ({error}); {_without_manifest(folder)}") from error
    if schema > SCHEMA:
        raise InputError(f"{path}: written by a newer version (schema {schema}); upgrade deep-relative-trust")
    return content  # type: ignore[no-any-return]


def _check_identity(identity: Any) -> None:
    """Refuse what says of no run which one it is.

    Raises:
        ValueError: it is no mapping, or its checkpoints or what is done at once are none.
    """
    if not isinstance(identity, dict):
        raise ValueError("identity")
    checkpoints = identity.get("checkpoints", [])
    if not isinstance(checkpoints, list) or not all(isinstance(one, str) for one in checkpoints):
        raise ValueError("checkpoints")
    for name in ("chunk", "etas_at_once"):
        if type(identity.get(name, 1)) not in (int, type(None)):
            raise ValueError(name)
    if identity.get("matmul", "torch") not in CHOICES["matmul"]:
        raise ValueError("matmul")


def _without_manifest(folder: Path) -> str:
    """What to do about a damaged manifest: slices that say which run they are of need none."""
    files = slice_files(folder)
    if files and all(_is_sealed(file) for file in files):
        return f"delete it and run the same command again; the {_counted(len(files))} measured are kept"
    return "measure again into another folder"


def slice_files(folder: Path) -> list[Path]:
    """The files of all checkpoints that are measured, in training order."""
    slices = folder / "slices"
    return sorted(path for path in slices.iterdir() if _SLICE.fullmatch(path.name)) if slices.is_dir() else []


def _is_sealed(path: Path) -> bool:
    return path.is_file() and seal_holds(path.read_bytes()) is not None


def _counted(count: int) -> str:
    return f"{count} slice{'s' * (count != 1)}"


def read_slice(path: Path, identity: Mapping[str, Any]) -> xr.Dataset:
    """One checkpoint's measurements, as they were written by the run of this identity.

    Raises:
        InputError: the file is damaged, of another run, or a newer version wrote it.
    """
    try:
        if not path.is_file():
            raise ValueError("it is not a plain file")
        content = path.read_bytes()
        holds = seal_holds(content)
        if not holds:
            raise ValueError("it has no checksum" if holds is None else "its checksum does not fit")
        dataset = xr.load_dataset(io.BytesIO(content), engine="scipy")
        schema = int(dataset.attrs.pop("schema"))
        if schema <= SCHEMA:
            check_form(dataset)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # the parser's own errors for a truncated or edited file are of many types
        raise InputError(f"{path}: is damaged ({_reason(error)}); {_without(path)}") from error
    if schema > SCHEMA:
        raise InputError(f"{path}: written by a newer version (schema {schema}); upgrade deep-relative-trust")
    dataset.attrs.pop(ATTRIBUTE, None)
    if dataset.attrs.pop(_RUN, None) != digest_of(identity):
        raise InputError(f"{path}: is of another run than its folder; {_without(path)}")
    return dataset


def _reason(error: Exception) -> str:
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


def _without(path: Path) -> str:
    """What to do about one slice that cannot be used."""
    others = len([file for file in slice_files(path.parent.parent) if file != path])
    kept = f"; the other {others} {'is' if others == 1 else 'are'} kept" if others else ""
    return f"delete it and run the same command again{kept}"
