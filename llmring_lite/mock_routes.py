"""Which mock answers a request, by its method and path, and lists of models.

| method and path                                           | answered as        |
| --------------------------------------------------------- | ------------------ |
| POST .../chat/completions                                 | openai             |
| POST .../responses                                        | openai-responses   |
| POST .../messages                                         | anthropic          |
| POST ...:generateContent, ...:streamGenerateContent       | google             |
| POST .../api/chat                                         | ollama             |
| GET  /v1/models, /v1beta/models, /api/tags, /api/version  | lists of models    |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmring_lite.mock import Mock, MockAnswer, load_format
from llmring_lite.mock_http import MockRequest
from llmring_lite.mock_model import Failure
from llmring_lite.mock_reply import CREATED, to_json

_WIRES: Final[Mapping[str, str]] = {
    "/chat/completions": "openai",
    "/responses": "openai-responses",
    "/messages": "anthropic",
    ":generateContent": "google",
    ":streamGenerateContent": "google",
    "/api/chat": "ollama",
}
"""End of the path -> wire format."""

# For the shape of errors on paths that are none of these.
_PREFIXES: Final[Mapping[str, str]] = {
    "/v1beta/": "google",
    "/api/": "ollama",
    "/v1/messages/": "anthropic",
}


def route(mock: Mock, request: MockRequest) -> MockAnswer:
    """The answer to a request; to an unknown path it is a 404."""
    path = request.path.partition("?")[0]
    if request.method == "GET":
        listing = _LISTINGS.get(path)
        if listing is not None:
            return MockAnswer(
                status=200,
                headers={"content-type": "application/json"},
                body=to_json(listing(mock.names(), request.headers)).encode(),
            )
    else:
        for end, wire in _WIRES.items():
            if path.endswith(end):
                return mock.answer(wire, request.path, request.headers, request.body)
    return _no_such_path(request.method, path)


def _no_such_path(method: str, path: str) -> MockAnswer:
    wire = next((w for p, w in _PREFIXES.items() if path.startswith(p)), "openai")
    format_ = load_format(wire)
    failure = Failure(404, f"Invalid URL ({method} {path})")
    return MockAnswer(
        status=404,
        headers={"content-type": format_.content_type},
        body=format_.encode(format_.build_error(failure)),
    )


def _list_models(names: list[str], headers: Mapping[str, str]) -> Any:
    """The path is three providers' own; their headers tell which is meant."""
    if "x-goog-api-key" in headers:
        return _list_google(names, headers)
    if "anthropic-version" in headers:
        rows = [
            {
                "type": "model",
                "id": name,
                "display_name": name,
                "created_at": "2025-01-01T00:00:00Z",
            }
            for name in names
        ]
        return {
            "data": rows,
            "has_more": False,
            "first_id": names[0],
            "last_id": names[-1],
        }
    return {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": CREATED, "owned_by": "mock"}
            for name in names
        ],
    }


def _list_google(names: list[str], _headers: Mapping[str, str]) -> Any:
    rows = [
        {
            "name": f"models/{name}",
            "version": "1",
            "displayName": name,
            "inputTokenLimit": 1048576,
            "outputTokenLimit": 65536,
            "supportedGenerationMethods": ["generateContent"],
        }
        for name in names
    ]
    return {"models": rows}


def _list_ollama(names: list[str], _headers: Mapping[str, str]) -> Any:
    rows = [
        {
            "name": f"{name}:latest",
            "model": f"{name}:latest",
            "modified_at": "2025-01-01T00:00:00Z",
            "size": 0,
            "digest": "0" * 64,
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "mock",
                "families": ["mock"],
                "parameter_size": "0B",
                "quantization_level": "F16",
            },
        }
        for name in names
    ]
    return {"models": rows}


_LISTINGS: Final[Mapping[str, Callable[[list[str], Mapping[str, str]], Any]]] = {
    "/v1/models": _list_models,
    "/v1beta/models": _list_google,
    "/api/tags": _list_ollama,
    "/api/version": lambda _names, _headers: {"version": "0.0.0"},
}
