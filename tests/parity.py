"""The matrix of features by wire format: what a request says, and what is sent of it.

A row is a feature, a cell what one provider makes of it:

- `native(path=value, ...)`: the API has it; these places of the body say so. Without
  any: it is what the API does unasked.
- `emulated(...)`: it is put in other words, which docs/providers.md explains.
- `raises(parameter)`: `UnsupportedParameterError` that names the parameter.
- `left_out()`: a hint, or another provider's data: the body is as without it.

`docs/providers.md` shows the same table; `test_docs_providers` compares.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llmring_lite.provider import BUILTIN, Endpoint
from llmring_lite.schemas import Message

JSON = dict[str, Any]


class Column(NamedTuple):
    endpoint: Endpoint
    model: str
    plain_model: str
    """One that doesn't reason, where names tell; else the same."""


COLUMNS: dict[str, Column] = {
    "openai": Column(BUILTIN["openai"], "gpt-5.6", "gpt-4o"),
    "openai-responses": Column(
        BUILTIN["openai"]._replace(kind="openai-responses"), "gpt-5.6", "gpt-4o"
    ),
    "anthropic": Column(
        BUILTIN["anthropic"], "claude-sonnet-4-6", "claude-3-5-haiku-latest"
    ),
    "google": Column(BUILTIN["google"], "gemini-3-flash-preview", "gemini-2.0-flash"),
    "ollama": Column(BUILTIN["ollama"], "qwen3:4b", "llama3:8b"),
    "compatible": Column(BUILTIN["together"], "some/model", "some/model"),
}


@dataclass(frozen=True)
class Cell:
    word: str
    places: Mapping[str, Any] = field(default_factory=dict)
    parameter: str = ""


def native(places: Mapping[str, Any] | None = None) -> Cell:
    return Cell("native", places or {})


def emulated(places: Mapping[str, Any]) -> Cell:
    return Cell("emulated", places)


def raises(parameter: str) -> Cell:
    return Cell("raises", parameter=parameter)


def left_out() -> Cell:
    return Cell("left out")


@dataclass(frozen=True)
class Row:
    """A feature.

    Attributes:
        asked: The request's fields that ask for it.
        plain: The same without it.
        cells: By column.
        is_part: A message's part, or a tool: never dropped.
        of_plain_model: Asked of the model that doesn't reason.
    """

    name: str
    asked: JSON
    cells: dict[str, Cell]
    plain: JSON = field(default_factory=dict)
    is_part: bool = False
    of_plain_model: bool = False


def everywhere(**cells: Cell) -> dict[str, Cell]:
    return {name.replace("_", "-"): cell for name, cell in cells.items()}


def same(cell: Cell) -> dict[str, Cell]:
    return dict.fromkeys(COLUMNS, cell)


# What is asked for ------------------------------------------------------------------

FUNCTION = {
    "name": "weather",
    "description": "Tells the weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
TOOL = {"type": "function", "function": FUNCTION}
STRICT_TOOL = {"type": "function", "function": {**FUNCTION, "strict": True}}
TOOLS = {"tools": [TOOL]}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
LOOSE = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
STRICT = {**LOOSE, "strict": True}
MARK = {"type": "ephemeral"}
POINT = {"mode": "explicit"}


def data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


PNG_BYTES = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
PDF_BYTES = b"%PDF-1.7\n"
PNG = data_url("image/png", PNG_BYTES)
PDF = data_url("application/pdf", PDF_BYTES)
PNG_64 = PNG.partition(",")[2]
PDF_64 = PDF.partition(",")[2]
WAV_64 = base64.b64encode(b"RIFF0000WAVEfmt ").decode()
NOTE = data_url("text/plain", b"Remember the milk.")
IMAGE_AT = "https://example.com/a.png"
PDF_AT = "https://example.com/a.pdf"


def call(call_id: str = "call_1", arguments: Any = '{"city": "Rome"}') -> JSON:
    function = {"name": "weather", "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def turn(*more: Message, calls: list[JSON] | None = None) -> JSON:
    """A conversation in which the model called a tool, and what follows."""
    return {
        "messages": [
            Message("user", "Weather?"),
            Message("assistant", "", tool_calls=calls or [call()]),
            *more,
        ],
        **TOOLS,
    }


def result(content: Any, call_id: str = "call_1", **more: Any) -> Message:
    return Message("tool", content, tool_call_id=call_id, **more)


def user(*parts: JSON, **more: Any) -> JSON:
    return {"messages": [Message("user", list(parts), **more)]}


def chat(*messages: tuple[str, Any]) -> JSON:
    return {"messages": [Message(role, content) for role, content in messages]}


TEXT = {"type": "text", "text": "See:"}

# Parameters -------------------------------------------------------------------------

PARAMETERS = [
    Row(
        "`temperature`",
        {"temperature": 0.5},
        everywhere(
            openai=native({"temperature": 0.5}),
            openai_responses=native({"temperature": 0.5}),
            anthropic=native({"temperature": 0.5}),
            google=native({"generationConfig.temperature": 0.5}),
            ollama=native({"options.temperature": 0.5}),
            compatible=native({"temperature": 0.5}),
        ),
    ),
    Row(
        "`max_tokens`",
        {"max_tokens": 50},
        everywhere(
            openai=native({"max_completion_tokens": 50}),
            openai_responses=native({"max_output_tokens": 50}),
            anthropic=native({"max_tokens": 50}),
            google=native({"generationConfig.maxOutputTokens": 50}),
            ollama=native({"options.num_predict": 50}),
            compatible=native({"max_tokens": 50}),
        ),
    ),
    Row(
        "`top_p`",
        {"top_p": 0.9},
        everywhere(
            openai=native({"top_p": 0.9}),
            openai_responses=native({"top_p": 0.9}),
            anthropic=native({"top_p": 0.9}),
            google=native({"generationConfig.topP": 0.9}),
            ollama=native({"options.top_p": 0.9}),
            compatible=native({"top_p": 0.9}),
        ),
    ),
    Row(
        "`stop`",
        {"stop": "END"},
        everywhere(
            openai=native({"stop": "END"}),
            openai_responses=raises("stop"),
            anthropic=native({"stop_sequences": ["END"]}),
            google=native({"generationConfig.stopSequences": ["END"]}),
            ollama=native({"options.stop": ["END"]}),
            compatible=native({"stop": "END"}),
        ),
    ),
    Row(
        "`seed`",
        {"seed": 7},
        everywhere(
            openai=native({"seed": 7}),
            openai_responses=raises("seed"),
            anthropic=raises("seed"),
            google=native({"generationConfig.seed": 7}),
            ollama=native({"options.seed": 7}),
            compatible=native({"seed": 7}),
        ),
    ),
    Row(
        "`reasoning_effort`",
        {"reasoning_effort": "low"},
        everywhere(
            openai=native({"reasoning_effort": "low"}),
            openai_responses=native({"reasoning.effort": "low"}),
            anthropic=native({"output_config.effort": "low"}),
            google=native({"generationConfig.thinkingConfig.thinkingLevel": "low"}),
            ollama=emulated({"think": True}),
            compatible=native({"reasoning_effort": "low"}),
        ),
    ),
    Row(
        '`reasoning_effort="xhigh"`',
        {"reasoning_effort": "xhigh"},
        everywhere(
            openai=native({"reasoning_effort": "xhigh"}),
            openai_responses=native({"reasoning.effort": "xhigh"}),
            anthropic=emulated({"output_config.effort": "high"}),
            google=emulated({"generationConfig.thinkingConfig.thinkingLevel": "high"}),
            ollama=emulated({"think": True}),
            compatible=native({"reasoning_effort": "xhigh"}),
        ),
    ),
    Row(
        '`reasoning_effort="none"`',
        {"reasoning_effort": "none"},
        everywhere(
            openai=native({"reasoning_effort": "none"}),
            openai_responses=native({"reasoning.effort": "none"}),
            anthropic=native(),
            google=raises("reasoning_effort"),
            ollama=native({"think": False}),
            compatible=native({"reasoning_effort": "none"}),
        ),
    ),
    Row(
        '`reasoning_effort="none"` of a model that doesn\'t reason',
        {"reasoning_effort": "none"},
        everywhere(
            openai=native(),
            openai_responses=native(),
            anthropic=native(),
            google=native(),
            ollama=native({"think": False}),
            compatible=native({"reasoning_effort": "none"}),
        ),
        of_plain_model=True,
    ),
    Row(
        "`reasoning_effort` of a model that doesn't reason",
        {"reasoning_effort": "low"},
        everywhere(
            openai=raises("reasoning_effort"),
            openai_responses=raises("reasoning_effort"),
            anthropic=raises("reasoning_effort"),
            google=raises("reasoning_effort"),
            ollama=native({"think": True}),
            compatible=native({"reasoning_effort": "low"}),
        ),
        of_plain_model=True,
    ),
    Row(
        "`reasoning_tokens`",
        {"reasoning_tokens": 4096},
        everywhere(
            openai=emulated({"reasoning_effort": "medium"}),
            openai_responses=emulated({"reasoning.effort": "medium"}),
            anthropic=native({"thinking.budget_tokens": 4096}),
            google=native({"generationConfig.thinkingConfig.thinkingBudget": 4096}),
            ollama=emulated({"think": True}),
            compatible=emulated({"reasoning_effort": "medium"}),
        ),
    ),
    Row(
        "`reasoning_tokens` of a model that doesn't reason",
        {"reasoning_tokens": 4096},
        everywhere(
            openai=raises("reasoning_tokens"),
            openai_responses=raises("reasoning_tokens"),
            anthropic=raises("reasoning_tokens"),
            google=raises("reasoning_tokens"),
            ollama=emulated({"think": True}),
            compatible=emulated({"reasoning_effort": "medium"}),
        ),
        of_plain_model=True,
    ),
    Row(
        "`response_format`: JSON without a schema",
        {"response_format": {"type": "json_object"}},
        everywhere(
            openai=native({"response_format.type": "json_object"}),
            openai_responses=native({"text.format.type": "json_object"}),
            anthropic=emulated({"tool_choice.name": "respond_with_structure"}),
            google=native({"generationConfig.responseMimeType": "application/json"}),
            ollama=native({"format": "json"}),
            compatible=native({"response_format.type": "json_object"}),
        ),
    ),
    Row(
        "`response_format`: a schema",
        {"response_format": LOOSE},
        everywhere(
            openai=native({"response_format.json_schema.schema": SCHEMA}),
            openai_responses=native({"text.format.schema": SCHEMA}),
            anthropic=native({"output_config.format.schema": SCHEMA}),
            google=native({"generationConfig.responseJsonSchema": SCHEMA}),
            ollama=native({"format": SCHEMA}),
            compatible=native({"response_format.json_schema.schema": SCHEMA}),
        ),
    ),
    Row(
        "`response_format`: a strict schema",
        {"response_format": STRICT},
        everywhere(
            openai=native({"response_format.json_schema.strict": True}),
            openai_responses=native({"text.format.strict": True}),
            anthropic=native({"output_config.format.schema": SCHEMA}),
            google=native({"generationConfig.responseJsonSchema": SCHEMA}),
            ollama=native({"format": SCHEMA}),
            compatible=native({"response_format.json_schema.strict": True}),
        ),
    ),
    Row(
        "`response_format` beside `tools`",
        {"response_format": LOOSE, **TOOLS},
        everywhere(
            openai=native({"response_format.json_schema.schema": SCHEMA}),
            openai_responses=native({"text.format.schema": SCHEMA}),
            anthropic=native({"output_config.format.schema": SCHEMA}),
            google=native({"generationConfig.responseJsonSchema": SCHEMA}),
            ollama=raises("response_format"),
            compatible=native({"response_format.json_schema.schema": SCHEMA}),
        ),
        plain=TOOLS,
    ),
    Row(
        "`tools`",
        TOOLS,
        everywhere(
            openai=native({"tools.0": TOOL}),
            openai_responses=native({"tools.0.name": "weather"}),
            anthropic=native({"tools.0.input_schema": FUNCTION["parameters"]}),
            google=native({"tools.0.functionDeclarations.0.name": "weather"}),
            ollama=native({"tools.0": TOOL}),
            compatible=native({"tools.0": TOOL}),
        ),
    ),
    Row(
        "`tools` with `strict`",
        {"tools": [STRICT_TOOL]},
        everywhere(
            openai=native({"tools.0.function.strict": True}),
            openai_responses=native({"tools.0.strict": True}),
            anthropic=native({"tools.0.strict": True}),
            google=native({"toolConfig.functionCallingConfig.mode": "VALIDATED"}),
            ollama=raises("tools[0].function.strict"),
            compatible=native({"tools.0.function.strict": True}),
        ),
        plain=TOOLS,
    ),
    Row(
        '`tool_choice="auto"`',
        {"tool_choice": "auto", **TOOLS},
        everywhere(
            openai=native({"tool_choice": "auto"}),
            openai_responses=native({"tool_choice": "auto"}),
            anthropic=native({"tool_choice.type": "auto"}),
            google=native({"toolConfig.functionCallingConfig.mode": "AUTO"}),
            ollama=native(),
            compatible=native({"tool_choice": "auto"}),
        ),
        plain=TOOLS,
    ),
    Row(
        '`tool_choice="none"`',
        {"tool_choice": "none", **TOOLS},
        everywhere(
            openai=native({"tool_choice": "none"}),
            openai_responses=native({"tool_choice": "none"}),
            anthropic=native({"tool_choice.type": "none"}),
            google=native({"toolConfig.functionCallingConfig.mode": "NONE"}),
            ollama=emulated({"tools": None}),
            compatible=native({"tool_choice": "none"}),
        ),
        plain=TOOLS,
    ),
    Row(
        '`tool_choice="required"`',
        {"tool_choice": "required", **TOOLS},
        everywhere(
            openai=native({"tool_choice": "required"}),
            openai_responses=native({"tool_choice": "required"}),
            anthropic=native({"tool_choice.type": "any"}),
            google=native({"toolConfig.functionCallingConfig.mode": "ANY"}),
            ollama=raises("tool_choice"),
            compatible=native({"tool_choice": "required"}),
        ),
        plain=TOOLS,
    ),
    Row(
        "`tool_choice`: a function",
        {
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            **TOOLS,
        },
        everywhere(
            openai=native({"tool_choice.function.name": "weather"}),
            openai_responses=native({"tool_choice.name": "weather"}),
            anthropic=native({"tool_choice": {"type": "tool", "name": "weather"}}),
            google=native(
                {"toolConfig.functionCallingConfig.allowedFunctionNames": ["weather"]}
            ),
            ollama=raises("tool_choice"),
            compatible=native({"tool_choice.function.name": "weather"}),
        ),
        plain=TOOLS,
    ),
    Row(
        "`parallel_tool_calls=True`",
        {"parallel_tool_calls": True, **TOOLS},
        everywhere(
            openai=native({"parallel_tool_calls": True}),
            openai_responses=native({"parallel_tool_calls": True}),
            anthropic=native(),
            google=native(),
            ollama=native(),
            compatible=native({"parallel_tool_calls": True}),
        ),
        plain=TOOLS,
    ),
    Row(
        "`parallel_tool_calls=False`",
        {"parallel_tool_calls": False, **TOOLS},
        everywhere(
            openai=native({"parallel_tool_calls": False}),
            openai_responses=native({"parallel_tool_calls": False}),
            anthropic=native({"tool_choice.disable_parallel_tool_use": True}),
            google=raises("parallel_tool_calls"),
            ollama=raises("parallel_tool_calls"),
            compatible=native({"parallel_tool_calls": False}),
        ),
        plain=TOOLS,
    ),
    Row(
        "`cache=True`",
        {"cache": True},
        everywhere(
            openai=native(),
            openai_responses=native(),
            anthropic=native({"messages.0.content.0.cache_control": MARK}),
            google=native(),
            ollama=native(),
            compatible=left_out(),
        ),
    ),
    Row(
        "`cache`: a key",
        {"cache": "team-7"},
        everywhere(
            openai=native({"prompt_cache_key": "team-7"}),
            openai_responses=native({"prompt_cache_key": "team-7"}),
            anthropic=native({"messages.0.content.0.cache_control": MARK}),
            google=left_out(),
            ollama=left_out(),
            compatible=left_out(),
        ),
    ),
    Row(
        '`cache={"ttl": "1h"}`',
        {"cache": {"ttl": "1h"}},
        everywhere(
            openai=left_out(),
            openai_responses=left_out(),
            anthropic=native({"messages.0.content.0.cache_control.ttl": "1h"}),
            google=left_out(),
            ollama=left_out(),
            compatible=left_out(),
        ),
    ),
    Row(
        "`stream`",
        {"stream": True},
        everywhere(
            openai=native({"stream": True, "stream_options.include_usage": True}),
            openai_responses=native({"stream": True}),
            anthropic=native({"stream": True}),
            google=native({"@url": ":streamGenerateContent?alt=sse"}),
            ollama=native({"stream": True}),
            compatible=native({"stream": True, "stream_options.include_usage": True}),
        ),
    ),
    Row(
        "`extra_params`",
        {"extra_params": {"novelty": 3}},
        everywhere(
            openai=native({"novelty": 3}),
            openai_responses=native({"novelty": 3}),
            anthropic=native({"novelty": 3}),
            google=native({"novelty": 3}),
            ollama=native({"options.novelty": 3}),
            compatible=native({"novelty": 3}),
        ),
    ),
]

# Messages ---------------------------------------------------------------------------

MESSAGES = [
    Row(
        "system message",
        chat(("system", "S"), ("user", "U")),
        everywhere(
            openai=native({"messages.0": {"role": "system", "content": "S"}}),
            openai_responses=native({"input.0": {"role": "system", "content": "S"}}),
            anthropic=native({"system": "S"}),
            google=native({"systemInstruction.parts.0.text": "S"}),
            ollama=native({"messages.0": {"role": "system", "content": "S"}}),
            compatible=native({"messages.0": {"role": "system", "content": "S"}}),
        ),
    ),
    Row(
        "several system messages",
        chat(("system", "S"), ("system", "T"), ("user", "U")),
        everywhere(
            openai=native({"messages.1.content": "T"}),
            openai_responses=native({"input.1.content": "T"}),
            anthropic=emulated({"system": "S\n\nT"}),
            google=emulated({"systemInstruction.parts.0.text": "S\n\nT"}),
            ollama=native({"messages.1.content": "T"}),
            compatible=native({"messages.1.content": "T"}),
        ),
    ),
    Row(
        "system message after others",
        chat(("user", "U"), ("system", "T"), ("user", "V")),
        everywhere(
            openai=native({"messages.1": {"role": "system", "content": "T"}}),
            openai_responses=native({"input.1": {"role": "system", "content": "T"}}),
            anthropic=emulated({"system": "T"}),
            google=emulated({"systemInstruction.parts.0.text": "T"}),
            ollama=native({"messages.1": {"role": "system", "content": "T"}}),
            compatible=native({"messages.1": {"role": "system", "content": "T"}}),
        ),
    ),
    Row(
        "role `developer`",
        chat(("developer", "S"), ("user", "U")),
        everywhere(
            openai=native({"messages.0.role": "developer"}),
            openai_responses=native({"input.0.role": "developer"}),
            anthropic=emulated({"system": "S"}),
            google=emulated({"systemInstruction.parts.0.text": "S"}),
            ollama=emulated({"messages.0.role": "system"}),
            compatible=emulated({"messages.0.role": "system"}),
        ),
    ),
    Row(
        "`name` of a participant",
        {"messages": [Message("user", "Hi", name="ann")]},
        everywhere(
            openai=native({"messages.0.name": "ann"}),
            openai_responses=raises("messages[0].name"),
            anthropic=raises("messages[0].name"),
            google=raises("messages[0].name"),
            ollama=raises("messages[0].name"),
            compatible=native({"messages.0.name": "ann"}),
        ),
        plain=chat(("user", "Hi")),
    ),
    Row(
        "`cache_control` of a message",
        {"messages": [Message("user", "Hi", metadata={"cache_control": MARK})]},
        everywhere(
            openai=native({"messages.0.content.0.prompt_cache_breakpoint": POINT}),
            openai_responses=native(
                {"input.0.content.0.prompt_cache_breakpoint": POINT}
            ),
            anthropic=native({"messages.0.content.0.cache_control": MARK}),
            google=left_out(),
            ollama=left_out(),
            compatible=left_out(),
        ),
        plain=chat(("user", "Hi")),
    ),
    Row(
        "`cache_control` of a part",
        user({**TEXT, "cache_control": MARK}),
        everywhere(
            openai=native({"messages.0.content.0.prompt_cache_breakpoint": POINT}),
            openai_responses=native(
                {"input.0.content.0.prompt_cache_breakpoint": POINT}
            ),
            anthropic=native({"messages.0.content.0.cache_control": MARK}),
            google=left_out(),
            ollama=left_out(),
            compatible=left_out(),
        ),
        plain=user(TEXT),
    ),
    Row(
        "assistant turn with text and calls",
        {
            "messages": [
                Message("user", "Weather?"),
                Message("assistant", "Let me see.", tool_calls=[call()]),
                result("rain"),
            ],
            **TOOLS,
        },
        everywhere(
            openai=native(
                {"messages.1.content": "Let me see.", "messages.1.tool_calls.0": call()}
            ),
            openai_responses=native(
                {
                    "input.1.content": "Let me see.",
                    "input.2.type": "function_call",
                    "input.2.call_id": "call_1",
                }
            ),
            anthropic=native(
                {
                    "messages.1.content.0.text": "Let me see.",
                    "messages.1.content.1.input": {"city": "Rome"},
                }
            ),
            google=native(
                {
                    "contents.1.parts.0.text": "Let me see.",
                    "contents.1.parts.1.functionCall.args": {"city": "Rome"},
                }
            ),
            ollama=native(
                {
                    "messages.1.content": "Let me see.",
                    "messages.1.tool_calls.0.function.arguments": {"city": "Rome"},
                }
            ),
            compatible=native(
                {"messages.1.content": "Let me see.", "messages.1.tool_calls.0": call()}
            ),
        ),
    ),
    Row(
        "call without arguments",
        turn(result("rain"), calls=[call(arguments="")]),
        everywhere(
            openai=native({"messages.1.tool_calls.0.function.arguments": "{}"}),
            openai_responses=native({"input.1.arguments": "{}"}),
            anthropic=native({"messages.1.content.0.input": {}}),
            google=native({"contents.1.parts.0.functionCall.args": {}}),
            ollama=native({"messages.1.tool_calls.0.function.arguments": {}}),
            compatible=native({"messages.1.tool_calls.0.function.arguments": "{}"}),
        ),
    ),
    Row(
        "tool result: text",
        turn(result("rain")),
        everywhere(
            openai=native({"messages.2.content": "rain"}),
            openai_responses=native({"input.2.output": "rain"}),
            anthropic=native({"messages.2.content.0.content": "rain"}),
            google=native(
                {"contents.2.parts.0.functionResponse.response": {"output": "rain"}}
            ),
            ollama=native({"messages.2.content": "rain"}),
            compatible=native({"messages.2.content": "rain"}),
        ),
    ),
    Row(
        "tool result: a number",
        turn(result(21.5)),
        everywhere(
            openai=emulated({"messages.2.content": "21.5"}),
            openai_responses=emulated({"input.2.output": "21.5"}),
            anthropic=emulated({"messages.2.content.0.content": "21.5"}),
            google=emulated(
                {"contents.2.parts.0.functionResponse.response": {"output": "21.5"}}
            ),
            ollama=emulated({"messages.2.content": "21.5"}),
            compatible=emulated({"messages.2.content": "21.5"}),
        ),
    ),
    Row(
        "tool result: an object",
        turn(result({"c": 3})),
        everywhere(
            openai=emulated({"messages.2.content": '{"c": 3}'}),
            openai_responses=emulated({"input.2.output": '{"c": 3}'}),
            anthropic=emulated({"messages.2.content.0.content": '{"c": 3}'}),
            google=native({"contents.2.parts.0.functionResponse.response": {"c": 3}}),
            ollama=emulated({"messages.2.content": '{"c": 3}'}),
            compatible=emulated({"messages.2.content": '{"c": 3}'}),
        ),
    ),
    Row(
        "tool result: a list of text parts",
        turn(result([{"type": "text", "text": "rain"}])),
        everywhere(
            openai=native({"messages.2.content.0.text": "rain"}),
            openai_responses=emulated({"input.2.output": "rain"}),
            anthropic=native({"messages.2.content.0.content.0.text": "rain"}),
            google=emulated(
                {"contents.2.parts.0.functionResponse.response": {"output": "rain"}}
            ),
            ollama=emulated({"messages.2.content": "rain"}),
            compatible=native({"messages.2.content.0.text": "rain"}),
        ),
    ),
    Row(
        "tool result: an image",
        turn(result([{"type": "image_url", "image_url": {"url": PNG}}])),
        everywhere(
            openai=emulated(
                {"messages.3.role": "user", "messages.3.content.1.image_url.url": PNG}
            ),
            openai_responses=native({"input.2.output.0.image_url": PNG}),
            anthropic=native({"messages.2.content.0.content.0.source.data": PNG_64}),
            google=native(
                {
                    "contents.2.parts.0.functionResponse.parts.0.inlineData.data": (
                        PNG_64
                    )
                }
            ),
            ollama=native({"messages.2.images.0": PNG_64}),
            compatible=emulated(
                {"messages.3.role": "user", "messages.3.content.1.image_url.url": PNG}
            ),
        ),
    ),
    Row(
        "tool result: failed",
        turn(result("no such city", metadata={"is_error": True})),
        everywhere(
            openai=emulated({"messages.2.content": "Error: no such city"}),
            openai_responses=emulated({"input.2.output": "Error: no such city"}),
            anthropic=native({"messages.2.content.0.is_error": True}),
            google=native(
                {
                    "contents.2.parts.0.functionResponse.response": {
                        "error": "no such city"
                    }
                }
            ),
            ollama=emulated({"messages.2.content": "Error: no such city"}),
            compatible=emulated({"messages.2.content": "Error: no such city"}),
        ),
    ),
    Row(
        "several tool results",
        turn(result("rain"), result("sun", "call_2"), calls=[call(), call("call_2")]),
        everywhere(
            openai=native({"messages.3.tool_call_id": "call_2"}),
            openai_responses=native({"input.4.call_id": "call_2"}),
            anthropic=native({"messages.2.content.1.tool_use_id": "call_2"}),
            google=native({"contents.2.parts.1.functionResponse.id": "call_2"}),
            ollama=native({"messages.3.tool_call_id": "call_2"}),
            compatible=native({"messages.3.tool_call_id": "call_2"}),
        ),
    ),
    Row(
        "empty assistant turn",
        chat(("user", "U"), ("assistant", ""), ("user", "V")),
        everywhere(
            openai=native({"messages.1.content": "", "messages.2.content": "V"}),
            openai_responses=native({"input.1.content": "", "input.2.content": "V"}),
            anthropic=emulated(
                {
                    "messages.0.content.0.text": "U",
                    "messages.0.content.1.text": "V",
                }
            ),
            google=emulated(
                {"contents.0.parts.0.text": "U", "contents.0.parts.1.text": "V"}
            ),
            ollama=native({"messages.1.content": "", "messages.2.content": "V"}),
            compatible=native({"messages.1.content": "", "messages.2.content": "V"}),
        ),
    ),
    Row(
        "what another provider left in a turn",
        {
            "messages": [
                Message("user", "U"),
                Message(
                    "assistant",
                    "A",
                    provider_data={
                        "provider": "elsewhere",
                        "blocks": [{"type": "thinking", "thinking": "secret"}],
                        "parts": [{"part": {"thought": True, "text": "secret"}}],
                        "output": [{"type": "reasoning", "summary": ["secret"]}],
                        "thinking": "secret",
                        "reasoning_content": "secret",
                    },
                ),
                Message("user", "V"),
            ]
        },
        same(left_out()),
        plain=chat(("user", "U"), ("assistant", "A"), ("user", "V")),
    ),
]

# Parts ------------------------------------------------------------------------------


def image(url: str, **more: Any) -> JSON:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(**fields: Any) -> JSON:
    return {"type": "file", "file": fields}


_FILE = "messages[0].content[0] (file)"
_AUDIO = "messages[0].content[0] (input_audio)"

PARTS = [
    Row(
        "text",
        user(TEXT),
        everywhere(
            openai=native({"messages.0.content.0": TEXT}),
            openai_responses=native({"input.0.content.0.text": "See:"}),
            anthropic=native({"messages.0.content.0": TEXT}),
            google=native({"contents.0.parts.0.text": "See:"}),
            ollama=native({"messages.0.content": "See:"}),
            compatible=native({"messages.0.content.0": TEXT}),
        ),
    ),
    Row(
        "image",
        user(image(PNG)),
        everywhere(
            openai=native({"messages.0.content.0.image_url.url": PNG}),
            openai_responses=native({"input.0.content.0.image_url": PNG}),
            anthropic=native({"messages.0.content.0.source.data": PNG_64}),
            google=native({"contents.0.parts.0.inlineData.data": PNG_64}),
            ollama=native({"messages.0.images.0": PNG_64}),
            compatible=native({"messages.0.content.0.image_url.url": PNG}),
        ),
    ),
    Row(
        "image by URL",
        user(image(IMAGE_AT)),
        everywhere(
            openai=native({"messages.0.content.0.image_url.url": IMAGE_AT}),
            openai_responses=native({"input.0.content.0.image_url": IMAGE_AT}),
            anthropic=native({"messages.0.content.0.source.url": IMAGE_AT}),
            google=native({"contents.0.parts.0.fileData.fileUri": IMAGE_AT}),
            ollama=emulated({"messages.0.images.0": PNG_64}),
            compatible=native({"messages.0.content.0.image_url.url": IMAGE_AT}),
        ),
    ),
    Row(
        "`detail` of an image",
        user(image(PNG, detail="low")),
        everywhere(
            openai=native({"messages.0.content.0.image_url.detail": "low"}),
            openai_responses=native({"input.0.content.0.detail": "low"}),
            anthropic=left_out(),
            google=native(
                {"contents.0.parts.0.mediaResolution.level": "MEDIA_RESOLUTION_LOW"}
            ),
            ollama=left_out(),
            compatible=native({"messages.0.content.0.image_url.detail": "low"}),
        ),
        plain=user(image(PNG)),
    ),
    Row(
        "PDF",
        user(file(filename="a.pdf", file_data=PDF)),
        everywhere(
            openai=native({"messages.0.content.0.file.file_data": PDF}),
            openai_responses=native({"input.0.content.0.file_data": PDF}),
            anthropic=native({"messages.0.content.0.source.data": PDF_64}),
            google=native({"contents.0.parts.0.inlineData.data": PDF_64}),
            ollama=raises(_FILE),
            compatible=native({"messages.0.content.0.file.file_data": PDF}),
        ),
        is_part=True,
    ),
    Row(
        "PDF by URL",
        user(file(file_data=PDF_AT)),
        everywhere(
            openai=emulated({"messages.0.content.0.file.file_data": PDF}),
            openai_responses=native({"input.0.content.0.file_url": PDF_AT}),
            anthropic=native({"messages.0.content.0.source.url": PDF_AT}),
            google=native({"contents.0.parts.0.fileData.fileUri": PDF_AT}),
            ollama=raises(_FILE),
            compatible=native({"messages.0.content.0.file.file_data": PDF_AT}),
        ),
        is_part=True,
    ),
    Row(
        "text file",
        user(file(filename="note.txt", file_data=NOTE)),
        {
            name: emulated(
                {place: '<file name="note.txt">\nRemember the milk.\n</file>'}
            )
            for name, place in {
                "openai": "messages.0.content.0.text",
                "openai-responses": "input.0.content.0.text",
                "anthropic": "messages.0.content.0.text",
                "google": "contents.0.parts.0.text",
                "ollama": "messages.0.content",
                "compatible": "messages.0.content.0.text",
            }.items()
        },
    ),
    Row(
        "audio",
        user({"type": "input_audio", "input_audio": {"data": WAV_64, "format": "wav"}}),
        everywhere(
            openai=native({"messages.0.content.0.input_audio.data": WAV_64}),
            openai_responses=raises(_AUDIO),
            anthropic=raises(_AUDIO),
            google=native({"contents.0.parts.0.inlineData.data": WAV_64}),
            ollama=raises(_AUDIO),
            compatible=native({"messages.0.content.0.input_audio.data": WAV_64}),
        ),
        is_part=True,
    ),
    Row(
        "file by the provider's id",
        user(file(file_id="files/f1")),
        everywhere(
            openai=native({"messages.0.content.0.file.file_id": "files/f1"}),
            openai_responses=native({"input.0.content.0.file_id": "files/f1"}),
            anthropic=native({"messages.0.content.0.source.file_id": "files/f1"}),
            google=native(
                {
                    "contents.0.parts.0.fileData.fileUri": (
                        "https://generativelanguage.googleapis.com/v1beta/files/f1"
                    )
                }
            ),
            ollama=raises(_FILE),
            compatible=native({"messages.0.content.0.file.file_id": "files/f1"}),
        ),
        is_part=True,
    ),
]

SECTIONS = {"Parameters": PARAMETERS, "Messages": MESSAGES, "Parts": PARTS}

# What makes no sense anywhere -------------------------------------------------------

SENSELESS: dict[str, JSON] = {
    "a forced call without tools": {"tool_choice": "required"},
    "an unknown tool_choice": {"tool_choice": "sometimes", **TOOLS},
    "a tool without a name": {"tools": [{"type": "function", "function": {}}]},
    "an unknown response format": {"response_format": {"type": "yaml"}},
    "a malformed schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "text"}},
        }
    },
    "an unknown kind of cache": {"cache": {"retention": "for ever"}},
    "an unknown time to live": {"cache": {"ttl": "2h"}},
    "an unknown part": user({"type": "hologram"}),
    "a part without content": user({"type": "text"}),
    "a call without an id": turn(calls=[{**call(), "id": ""}]),
    "a call without a name": turn(calls=[{"id": "c", "function": {}}]),
    "a result of no call": {"messages": [Message("tool", "rain")]},
}
