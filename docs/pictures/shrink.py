"""Make a picture small enough for the repository: ``python docs/pictures/shrink.py IN.png OUT.png``.

It is scaled to at most 1600 pixels wide and stored with a palette of 64 colours.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

WIDTH = 1600
"""Largest width in pixels."""
COLOURS = 64
"""Colours of the palette."""
LARGEST = 200_000
"""Largest file in bytes."""


def shrink(source: Path, target: Path) -> int:
    """Write ``source`` scaled and with a palette to ``target``; returns its size in bytes."""
    picture = Image.open(source).convert("RGB")
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    picture.quantize(COLOURS).save(target, optimize=True)
    return target.stat().st_size


if __name__ == "__main__":
    size = shrink(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{sys.argv[2]}: {size} bytes")
    if size > LARGEST:
        sys.exit(f"{sys.argv[2]}: {size} bytes; at most {LARGEST} are allowed")
