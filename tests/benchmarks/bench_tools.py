"""What the benchmarks share: taking turns, medians, and rows of one table."""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]
# So that `python tests/benchmarks/bench_x.py` measures this checkout.
sys.path.insert(0, str(CHECKOUT))

KEY_VARIABLE = "BENCH_KEY"
KEY = "bench-0123456789"


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        figure: What was measured.
        ours: With its unit.
        baseline: What it is compared with, with its unit; "" if with nothing.
        ratio: Ours to the baseline's, None if there is none.
        aim: The largest (or with `at_least` smallest) ratio, or value if there is no
            ratio, that is aimed at; None for a figure that is only shown.
        value: Compared with the aim where there is no ratio.
    """

    figure: str
    ours: str
    baseline: str = ""
    ratio: float | None = None
    aim: float | None = None
    value: float | None = None
    at_least: bool = False
    unit: str = ""

    @property
    def met(self) -> bool | None:
        got = self.ratio if self.ratio is not None else self.value
        if self.aim is None or got is None:
            return None
        return got >= self.aim if self.at_least else got <= self.aim


def compared(
    figure: str,
    ours: Sequence[float],
    baseline: Sequence[float],
    aim: float | None = None,
    *,
    scale: float = 1000.0,
    unit: str = "ms",
    at_least: bool = False,
) -> Row:
    """A row of two series of seconds that were measured in turn.

    The ratio is the median of the ratios of neighbours: when the machine is busy, it
    is so for both of them.
    """
    pairs = zip(ours, baseline, strict=True)
    return Row(
        figure,
        f"{statistics.median(ours) * scale:.2f} {unit}",
        f"{statistics.median(baseline) * scale:.2f} {unit}",
        ratio=statistics.median(mine / theirs for mine, theirs in pairs),
        aim=aim,
        at_least=at_least,
    )


def absolute(figure: str, value: float, unit: str, aim: float | None = None) -> Row:
    """A row whose aim is a value of its own."""
    return Row(figure, f"{value:.4g} {unit}", aim=aim, value=value, unit=unit)


def print_table(rows: Sequence[Row]) -> None:
    lines = [("figure", "ours", "baseline", "ratio", "aim", "")]
    for row in rows:
        sign = ">=" if row.at_least else "<="
        unit = "x" if row.ratio is not None else f" {row.unit}"
        lines.append(
            (
                row.figure,
                row.ours,
                row.baseline,
                "" if row.ratio is None else f"{row.ratio:.3f}x",
                "" if row.aim is None else f"{sign} {row.aim:g}{unit}",
                {True: "met", False: "MISSED", None: ""}[row.met],
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        first, *rest = line
        cells = [first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]
        print("  ".join(cells).rstrip())


class Times(NamedTuple):
    """Seconds of some runs."""

    wall: list[float]
    cpu: list[float]

    def add(self, wall: float, cpu: float) -> None:
        self.wall.append(wall)
        self.cpu.append(cpu)


def in_turn(functions: dict[str, Callable[[], object]], runs: int) -> dict[str, Times]:
    """Times of the functions, called in turn: a busy moment hits them all.

    Every other round is in the opposite order, for what precedes a function may
    leave the caches or the processor's clock in its own favour.
    """
    taken = {name: Times([], []) for name in functions}
    for number in range(runs):
        names = list(functions) if number % 2 == 0 else list(functions)[::-1]
        for name in names:
            gc.collect()
            cpu, wall = time.process_time(), time.perf_counter()
            functions[name]()
            taken[name].add(time.perf_counter() - wall, time.process_time() - cpu)
    return taken


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# Programs in a process of their own ----------------------------------------------


def child_environment() -> dict[str, str]:
    """As an installed package has it: bytecode written, no settings of ours."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("LLMRING_")}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    environ["PYTHONPATH"] = str(CHECKOUT)
    return environ


def run_python(
    arguments: Sequence[str], folder: str | Path
) -> tuple[float, float, str]:
    """Run an interpreter to its end: wall and CPU seconds, and what it printed."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=child_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{arguments} failed")
    return seconds, usage.ru_utime + usage.ru_stime, printed


def programs_in_turn(
    programs: dict[str, Sequence[str]], folder: str | Path, runs: int
) -> tuple[dict[str, Times], dict[str, list[str]]]:
    """Times and output of interpreters, started in turn."""
    taken = {name: Times([], []) for name in programs}
    printed: dict[str, list[str]] = {name: [] for name in programs}
    for arguments in programs.values():
        run_python(arguments, folder)  # writes bytecode
    for _ in range(runs):
        for name, arguments in programs.items():
            wall, cpu, text = run_python(arguments, folder)
            taken[name].add(wall, cpu)
            printed[name].append(text)
    return taken, printed


# A ring --------------------------------------------------------------------------


def lockfile_text(urls: dict[str, str], bindings: str = "") -> str:
    """A lockfile with a provider for each URL, and the bindings given."""
    providers = "".join(
        f'[providers.{name}]\nkind = "openai"\nbase_url = "{url}"\n'
        f'api_key_env = "{KEY_VARIABLE}"\n\n'
        for name, url in urls.items()
    )
    return (
        'version = "1.0"\ndefault_profile = "default"\n\n'
        f'{providers}[profiles.default]\nname = "default"\n\n{bindings}'
    )


def binding(alias: str, *models: str, options: str = "") -> str:
    names = ", ".join(f'"{model}"' for model in models)
    return (
        f'[[profiles.default.bindings]]\nalias = "{alias}"\nmodels = [{names}]\n'
        f"{options}\n"
    )


@contextmanager
def folder_with_lockfile(text: str) -> Iterator[Path]:
    os.environ[KEY_VARIABLE] = KEY
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "llmring.lock").write_text(text)
        yield folder


# Scripts -------------------------------------------------------------------------


def script(measure: Callable[[int], list[Row]], summary: str | None, runs: int) -> None:
    """`main` of a benchmark: `--runs N`, and the table."""
    parser = argparse.ArgumentParser(description=(summary or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=runs, help=f"default: {runs}")
    print_table(measure(parser.parse_args().runs))
