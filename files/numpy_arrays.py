"""Arrays of real numbers from NumPy files."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError


def read_array(path: str | Path, name: str) -> NDArray[Any]:
    """The array in a ``.npy``, or in entry ``name`` of a ``.npz``.

    Raises:
        InputError: no such file, no such entry, or something else than real numbers.
    """
    source = Path(path)
    try:
        if source.suffix.lower() == ".npz":
            with np.load(source, allow_pickle=False) as archive:
                if name not in archive.files:
                    found = ", ".join(archive.files) or "none"
                    raise InputError(f"{path}: no entry {name!r} (found: {found}); save it under that name")
                values = archive[name]
        else:
            values = np.load(source, allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read, empty or damaged ({_line(error)}); save it again") from error
    # a damaged header reaches NumPy's own parser, which raises what Python's tokenizer raises
    except (ValueError, SyntaxError, KeyError, TypeError, OverflowError, MemoryError, tokenize.TokenError) as error:
        raise InputError(f"{path}: not an array of numbers, or damaged ({_line(error)}); save it again") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.size == 0:
        kind = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        size = values.size if isinstance(values, np.ndarray) else "no"
        raise InputError(f"{path}: {name} holds {size} values of type {kind}; real numbers are needed")
    return values


def finite(values: NDArray[Any], path: str | Path, name: str) -> NDArray[Any]:
    """``values`` if every number is finite.

    Raises:
        InputError: naming the first frame that is not.
    """
    # A sum is finite only if all terms are: one cheap pass for large arrays before the exact search.
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum(dtype=np.float64)
    if not np.isfinite(total):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            frame = int(bad[0][0])
            raise InputError(
                f"{path}: {name} of frame {frame} is {values[tuple(bad[0])]}; remove or recompute this frame"
            )
    return values


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
