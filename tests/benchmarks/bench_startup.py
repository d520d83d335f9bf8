"""Start-up: the import, the first chat of a fresh process, a short command.

The interpreter's own start is taken out of the imports (timed inside the process) and
left in everywhere else, as whoever runs a script has to wait for it.

Run: python tests/benchmarks/bench_startup.py [--runs N]
"""

from __future__ import annotations

import json

from bench_server import serving
from bench_tools import (
    KEY,
    Row,
    binding,
    compared,
    folder_with_lockfile,
    lockfile_text,
    programs_in_turn,
    script,
)

TIMED_IMPORT = """
from time import perf_counter
began = perf_counter()
import {module}
print(perf_counter() - began)
"""

BARE_CHAT = """
import requests
session = requests.Session()
reply = session.post(
    "{url}/chat/completions",
    json={{
        "model": "m",
        "messages": [{{"role": "user", "content": "What is the capital of France?"}}],
    }},
    headers={{"Authorization": "Bearer {key}"}},
    timeout=60,
).json()
print(reply["choices"][0]["message"]["content"])
"""

OUR_CHAT = """
from llmring_lite import LLMRing
ring = LLMRing()
print(ring.chat("summarizer", "What is the capital of France?").content)
"""

# What the installed console script does.
CONSOLE_SCRIPT = "import sys; from llmring_lite.cli import main; sys.exit(main())"


def measure(runs: int) -> list[Row]:
    with serving() as server:
        url = server.base_url("small")
        text = lockfile_text(
            {"bench": url}, binding("summarizer", "bench:m", "bench:m2", "bench:m3")
        )
        programs = {
            "interpreter": ["-c", "pass"],
            "requests": ["-c", TIMED_IMPORT.format(module="requests")],
            "ours": ["-c", TIMED_IMPORT.format(module="llmring_lite")],
            "bare chat": ["-c", BARE_CHAT.format(url=url, key=KEY)],
            "our chat": ["-c", OUR_CHAT],
            "argparse": ["-c", "import argparse, tomllib"],
            "aliases": ["-m", "llmring_lite", "aliases"],
            "aliases, installed": ["-c", CONSOLE_SCRIPT, "aliases"],
            "help": ["-c", CONSOLE_SCRIPT, "--help"],
        }
        with folder_with_lockfile(text) as folder:
            taken, printed = programs_in_turn(programs, folder, runs)
    imports = {
        name: [json.loads(text) for text in printed[name]]
        for name in ("requests", "ours")
    }
    times = {name: taken[name].wall for name in programs}
    work = {name: taken[name].cpu for name in programs}
    return [
        compared(
            "import / import requests", imports["ours"], imports["requests"], 0.15
        ),
        compared("  whole process", times["ours"], times["requests"]),
        compared("first chat / requests", times["our chat"], times["bare chat"], 1.15),
        compared("  CPU", work["our chat"], work["bare chat"]),
        compared(
            "aliases / argparse, tomllib", times["aliases"], times["argparse"], 1.5
        ),
        compared("  CPU", work["aliases"], work["argparse"]),
        compared("  console script", times["aliases, installed"], times["argparse"]),
        compared("--help / argparse, tomllib", times["help"], times["argparse"]),
        compared("  interpreter alone", times["interpreter"], times["argparse"]),
    ]


if __name__ == "__main__":
    script(measure, __doc__, 30)
