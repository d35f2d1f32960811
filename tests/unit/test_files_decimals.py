"""Decimals read many bytes at a time: the numbers that Python reads, and nothing from what is no number."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vibraloom.files import decimals


def test_decimals_are_read_as_python_reads_them() -> None:
    generator = np.random.default_rng(3)
    texts = [format(value, form) for form in (".6g", ".8f", ".10f", ".15g") for value in generator.normal(size=400) * 1e3]
    texts += ["0", "-0", "+1.5", ".5", "5.", "1e5", "1E-5", "-2.5e+03", "000123.4500", "123456789012345", "1e-22", "9.5e14"]
    texts += [digits[:point] + "." + digits[point:] for digits in ("1234567", "12345678", "123456789") for point in range(9)]
    for text in texts:
        assert _value(text) == float(text), text
        assert _decimal(text)[2] == decimals.GOOD, text
    assert math.copysign(1.0, _value("-0.0")) == -1.0
    long = list(map(repr, (generator.normal(size=1000) * 10.0 ** generator.integers(-250, 200, 1000)).tolist()))
    long += [f"{value:.{digits}f}" for digits in (18, 19, 20, 21, 25) for value in generator.normal(size=300)]
    long += ["0." + "0" * 30 + "1234567890123456789012345", "123456789012345.678901234567890123"]
    for text in long:
        assert abs(_value(text) - float(text)) <= math.ulp(float(text)), text
    assert _value("1e-400") == _value("0e999") == 0.0
    assert _decimal("-1e400")[::2] == (-math.inf, decimals.FAR)


def _decimal(text: str) -> tuple[float, int, int]:
    """Value, bytes read, and how, of the decimal that begins ``text``."""
    buffer = np.frombuffer(text.encode() + b"\n" + bytes(decimals.PADDING), dtype=np.uint8)
    value, end, state = decimals.decimal(np.uint64(buffer.ctypes.data))
    return value, int(end) - buffer.ctypes.data, state


def _value(text: str) -> float:
    value, length, state = _decimal(text)
    assert length == len(text.encode()), text
    assert state != decimals.NO_NUMBER, text
    if state == decimals.GOOD:
        assert value == float(text), text
    return value


NO_NUMBERS = ["", "-", ".", "e5", "1e", "1e+", "nan", "inf", "-inf", "****", "1.2.3", "1,5", "1d5", "0x10", "1_0", "１", "1-2"]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_is_refused(text: str) -> None:
    assert _decimal(text)[2] == decimals.NO_NUMBER
