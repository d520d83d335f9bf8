"""Usage over the network: one record to an llmring-server.

`POST /api/v1/log` with the header `X-API-Key`, as the package `llmring-server` has it
in its `routers/usage.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmring_lite.deadline import Deadline
from llmring_lite.keys import Secret
from llmring_lite.provider import Endpoint, HTTPRequest
from llmring_lite.provider_errors import parse_error
from llmring_lite.transport import Provider

PATH: Final = "/api/v1/log"


class UsagePoster:
    """The connections to a server."""

    def __init__(self, server_url: str, api_key: str | None) -> None:
        """Args:
        server_url: Checked by `usage_log.check_server_url`.
        api_key: None sends no credential.
        """
        self._provider = Provider(
            Endpoint(
                name="llmring-server",
                kind="openai",
                base_url=server_url,
                auth_header="X-API-Key",
                auth_prefix="",
            )
        )
        self._url = server_url + PATH
        self._key = None if api_key is None else Secret(api_key, "LLMRING_API_KEY")

    def post(self, record: Mapping[str, Any], timeout_s: float) -> None:
        """Send a record.

        Raises:
            ProviderError: It was not taken; its message shows no key.
        """
        reply = self._provider.send(
            HTTPRequest(url=self._url, body=dict(record)),
            self._key,
            Deadline(timeout_s),
        )
        if not 200 <= reply.status < 300:
            body = reply.body.decode("utf-8", "replace")
            if self._key is not None:
                body = self._key.redact(body)
            raise parse_error(body[:300], status=reply.status, headers=reply.headers)
