"""The main job end to end, without key or network, for whoever tries it out.

A mock provider runs on loopback, and everything else is what a program does: a
lockfile, an alias with a fallback, a chat, a stream, a failover, over real HTTP.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final, TextIO

from llmring_lite.mock_server import MockModel, MockServer
from llmring_lite.service import LLMRing

_REPLIES: Final = {
    "small": MockModel(
        reply="DNS turns names into addresses. (small, in OpenAI's format)",
        # Slow enough for a stream to be seen.
        tokens_per_second=30.0,
    ),
    "large": MockModel(
        reply="DNS is the telephone book of the net. (large, in Anthropic's format)"
    ),
}

# Its wait is over at once, so that the demonstration is, too.
_OUTAGE: Final = MockModel(status=503, retry_after=0.0)

_LOCKFILE: Final = """\
version = "1.0"
default_profile = "default"

[providers.demo-a]
kind = "openai"
base_url = "{openai}"

[providers.demo-b]
kind = "anthropic"
base_url = "{anthropic}"

[profiles.default]
name = "default"
"""

_NEXT_STEPS: Final = """\
Next steps
  export OPENAI_API_KEY=...        or ANTHROPIC_API_KEY, GEMINI_API_KEY; Ollama: none
  llmring-lite lock init           writes ./llmring.lock for the keys that are set
  llmring-lite bind summarizer openai:gpt-5-mini,anthropic:claude-haiku-4-5
  llmring-lite chat --model summarizer "Summarise: ..."
  llmring-lite explain summarizer  shows how the name resolves, and why

  from llmring_lite import LLMRing
  with LLMRing() as ring:
      print(ring.chat("summarizer", "Summarise: ...").content)
"""

_QUESTION: Final = "What is DNS?"


def run(out: TextIO) -> int:
    """Show the main job and write to `out` what happens. Returns the exit code, 0.

    Files are written in a temporary folder only, which is removed.
    """
    folder = tempfile.TemporaryDirectory(prefix="llmring-quickstart-")
    with folder as name, MockServer(None, models=_REPLIES) as server:
        path = Path(name, "llmring.lock")
        urls = {kind: server.base_url(kind) for kind in ("openai", "anthropic")}
        path.write_text(_LOCKFILE.format(**urls), encoding="utf-8")
        # Settings of the environment are for the user's own programs.
        with LLMRing(
            lockfile_path=path,
            profile="default",
            timeout=30.0,
            receipts=False,
            server_url="",
        ) as ring:
            _bind(out, ring, path)
            _chat(out, ring)
            _stream(out, ring)
            _fail_over(out, ring, server)
    out.write(_NEXT_STEPS)
    return 0


def _bind(out: TextIO, ring: LLMRing, path: Path) -> None:
    out.write(
        "1. A lockfile says which models serve a task, with a fallback\n"
        '   >>> ring.bind_alias("summarizer", ["demo-a:small", "demo-b:large"])\n'
    )
    ring.bind_alias("summarizer", ["demo-a:small", "demo-b:large"])
    for line in path.read_text(encoding="utf-8").splitlines():
        out.write(f"   | {line}".rstrip() + "\n")


def _chat(out: TextIO, ring: LLMRing) -> None:
    out.write(
        "\n2. Code names the task, over real HTTP to a mock provider here\n"
        f'   >>> ring.chat("summarizer", "{_QUESTION}")\n'
    )
    reply = ring.chat("summarizer", _QUESTION)
    out.write(f"   {reply.content}\n")
    out.write(f"   answered by {reply.model}, {reply.total_tokens} tokens\n")


def _stream(out: TextIO, ring: LLMRing) -> None:
    out.write(
        "\n3. The same as a stream\n"
        f'   >>> for chunk in ring.chat_stream("summarizer", "{_QUESTION}"):\n   '
    )
    with ring.chat_stream("summarizer", _QUESTION) as stream:
        for chunk in stream:
            out.write(chunk.delta)
            out.flush()
    out.write(f"\n   ended with {stream.response.finish_reason!r}\n")


def _fail_over(out: TextIO, ring: LLMRing, server: MockServer) -> None:
    out.write(
        "\n4. The first provider has an outage: the fallback answers, which speaks\n"
        "   another wire format\n"
        f'   >>> ring.chat("summarizer", "{_QUESTION}")\n'
    )
    server.mock.models["small"] = _OUTAGE
    reply = ring.chat("summarizer", _QUESTION)
    for attempt in reply.attempts:
        out.write(f"   {attempt['error'] or attempt['model'] + ': answered'}\n")
    out.write(f"   {reply.content}\n\n")
