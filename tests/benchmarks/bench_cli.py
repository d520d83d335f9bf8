"""`aliases` from the shell, against an interpreter that imports argparse and tomllib.

Run: python tests/benchmarks/bench_cli.py [RUNS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGE_FOLDER = str(Path(__file__).resolve().parents[2])

LOCKFILE = """
version = "1.0"
default_profile = "default"

[profiles.default]
name = "default"

[[profiles.default.bindings]]
alias = "summarizer"
models = ["anthropic:claude-haiku-4-5", "openai:gpt-5-mini", "ollama:llama3.2"]
"""

# What the installed console script does.
SCRIPT = "import sys; from llmring_lite.cli import main; sys.exit(main())"

COMMANDS = {
    "bare python": ["-c", "pass"],
    "import argparse, tomllib": ["-c", "import argparse, tomllib"],
    "llmring-lite aliases": ["-c", SCRIPT, "aliases"],
    "python -m llmring_lite aliases": ["-m", "llmring_lite", "aliases"],
    "llmring-lite --help": ["-c", SCRIPT, "--help"],
}


def seconds(arguments: list[str], folder: str) -> float:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("LLMRING_")}
    # Written bytecode is what an installed package has.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    environ["PYTHONPATH"] = PACKAGE_FOLDER
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environ,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - started


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "llmring.lock").write_text(LOCKFILE)
        taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(runs):
            # In turn, so that a busy moment of the machine hits them all.
            for name, arguments in COMMANDS.items():
                taken[name].append(seconds(arguments, folder))
    base = statistics.median(taken["import argparse, tomllib"])
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:32} {median * 1000:6.1f} ms  {median / base:5.2f}x")


if __name__ == "__main__":
    main()
