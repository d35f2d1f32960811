"""Numbers that are not finite, refused with the frame that holds the first of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError


def refuse_not_finite(values: NDArray[Any], name: str, start: int = 0) -> None:
    """Refuse a series with NaN or infinity in it.

    Args:
        values: (any unit) Array with shape (F, ...).
        name: of the series, for the message.
        start: number of its first frame.

    Raises:
        InputError: naming the first frame that is not finite.
    """
    # a sum is finite only if all its terms are: one cheap pass before the exact search
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum(dtype=np.float64)):
            return
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise InputError(f"{name}: frame {start + int(np.argmin(finite))} is not finite; mend or cut the series there")
