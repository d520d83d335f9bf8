"""Every public name is where users look for it."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import llmring_lite

SOURCE = Path(llmring_lite.__file__).read_text(encoding="utf-8")


def type_checking_imports() -> dict[str, str]:
    """Name -> module, as a type checker sees the package."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if alias.name != "import_module":
                    found[alias.name] = node.module
    return found


def test_type_checkers_see_the_names_that_python_resolves() -> None:
    assert sorted(type_checking_imports()) == sorted(llmring_lite.__all__)


@pytest.mark.parametrize("name", llmring_lite.__all__)
def test_a_name_is_the_one_of_its_module(name: str) -> None:
    module = importlib.import_module(type_checking_imports()[name])
    assert getattr(llmring_lite, name) is getattr(module, name)


# The errors, dataclasses and classes that the public contract names.
CONTRACT = [
    "LLMRing",
    "LLMRequest",
    "LLMResponse",
    "Message",
    "StreamChunk",
    "ChatStream",
    "Lockfile",
    "LLMRingError",
    "ProviderError",
    "ProviderAuthenticationError",
    "ProviderRateLimitError",
    "ProviderTimeoutError",
    "ProviderConnectionError",
    "ProviderOverloadedError",
    "ProviderResponseError",
    "ContextLengthError",
    "ContentFilterError",
    "CircuitBreakerError",
    "ProviderNotFoundError",
    "ModelNotFoundError",
    "AliasNotFoundError",
    "AllModelsFailedError",
    "LockfileError",
    "LockfileNotFoundError",
    "LockfileParseError",
    "LockfileValidationError",
    "GuardrailError",
    "RegistryError",
    "ReceiptError",
]


@pytest.mark.parametrize("name", CONTRACT)
def test_the_contract_is_kept(name: str) -> None:
    assert name in llmring_lite.__all__
    assert name in dir(llmring_lite)


@pytest.mark.parametrize("home", ["service", "schemas", "exceptions", "lockfile"])
def test_the_public_names_of_a_module_that_users_import_are_here_too(home: str) -> None:
    module = importlib.import_module(f"llmring_lite.{home}")
    classes = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]
    missing = {*classes, *getattr(module, "__all__", ())} - {*llmring_lite.__all__}
    assert not missing


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="LLMRign"):
        _ = llmring_lite.LLMRign  # type: ignore[attr-defined]
