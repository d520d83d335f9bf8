"""Commands in tests: what one printed, if it ended as it should."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from llmring_lite.cli import main

Run = Callable[..., "Printed"]


class Printed(NamedTuple):
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(command: str, *more: object, code: int = 0) -> Printed:
        """Run a command line; `more` are words that may hold spaces."""
        ended = main([*shlex.split(command), *map(str, more)])
        printed = Printed(*capsys.readouterr())
        assert ended == code, printed
        return printed

    return run
