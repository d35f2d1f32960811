"""An engine that a spec names and the environment lacks is named with the command that gets it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from vibraloom.workflows.launch import missing_engines
from vibraloom.workflows.spec import load_spec

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(("module", "extra"), [("pyscf", "dft"), ("tblite", "dft"), ("deepmd", "deepmd")])
def test_a_missing_engine_is_named_with_its_remedy(module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def without(name: str, *more: Any) -> Any:
        return None if name == module else real(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    assert missing_engines(load_spec(EXAMPLES / "h2o.yaml")) == [
        f"engine {module} is not installed; run: pip install 'vibraloom[{extra}]'"
    ]
    assert missing_engines(load_spec(EXAMPLES / "au111-water.yaml")) == []
