"""Endpoints -> the connections to them, and the dialect of a model."""

from __future__ import annotations

from typing import Any

from llmring_lite import keys
from llmring_lite.attempt import Sender
from llmring_lite.exceptions import ProviderNotFoundError
from llmring_lite.provider import BUILTIN, Endpoint, WireFormat, load_wire_format
from llmring_lite.routing import Candidate


class Senders:
    """The connections of a ring, opened on first use and shared by its threads.

    Pickles without them: connections stay with the process that opened them.
    """

    def __init__(self) -> None:
        self._by_address: dict[tuple[str, str], Sender] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_by_address": {}}

    def get(
        self, candidate: Candidate, api_endpoint: str | None = None
    ) -> tuple[Sender, WireFormat]:
        """The connections to a candidate's endpoint, and its wire format. As `of`.

        Args:
            api_endpoint: Which of OpenAI's APIs the model is served by; others who
                speak Chat Completions rarely have the second one.
        """
        endpoint = candidate.endpoint
        sender = self.of(endpoint)
        kind = endpoint.kind
        if (
            api_endpoint == "responses"
            and kind == "openai"
            and sender.endpoint.base_url == BUILTIN["openai"].base_url
        ):
            kind = "openai-responses"
        return sender, load_wire_format(kind)

    def of(self, endpoint: Endpoint) -> Sender:
        """The connections to an endpoint, at the address the environment gives it.

        Raises:
            ProviderNotFoundError: It has no address, or one that can't be used.
        """
        url = keys.base_url(endpoint)
        sender = self._by_address.get((endpoint.name, url))
        if sender is None:
            # Threads that come here together must end up with the same connections.
            sender = self._by_address.setdefault(
                (endpoint.name, url), _new_sender(endpoint, url)
            )
        return sender

    def close(self) -> None:
        """Close idle connections; a later call opens new ones."""
        for sender in list(self._by_address.values()):
            sender.close()


def _new_sender(endpoint: Endpoint, url: str) -> Sender:
    """The connections to an endpoint."""
    if endpoint.kind == "mock":
        from llmring_lite.provider_mock import MockProvider

        return MockProvider(endpoint)
    if not url:
        raise ProviderNotFoundError(
            f"no address: set {' or '.join(endpoint.base_url_env)}",
            provider=endpoint.name,
        )
    # Here, not at the top: it loads `requests`, nine tenths of a start-up, which a
    # program that only resolves aliases never needs.
    from llmring_lite.transport import Provider

    try:
        return Provider(endpoint._replace(base_url=url))
    except ValueError as error:
        raise ProviderNotFoundError(str(error), provider=endpoint.name) from None
