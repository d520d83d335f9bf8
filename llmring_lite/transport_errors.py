"""Errors of the network libraries, as ours."""

from __future__ import annotations

from http.client import HTTPException
from typing import Final

import requests
import urllib3

from llmring_lite.exceptions import (
    ProviderConnectionError,
    ProviderError,
    ProviderResponseError,
    ProviderTimeoutError,
)
from llmring_lite.transport_deadline import Exchange

# urllib3's own exceptions escape from the body (`raw`), http.client's from a malformed
# header block.
NETWORK_ERRORS: Final = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    HTTPException,
    OSError,
)
"""What an exchange may raise."""


def translated(error: BaseException, exchange: Exchange, host: str) -> ProviderError:
    """The typed error for one of `NETWORK_ERRORS`.

    Args:
        exchange: In which it happened.
        host: Where the exchange was with.

    The error stays usable as a cause, but shows no key: see `_forget_frames`.
    """
    _forget_frames(error)
    if exchange.deadline.expired() or isinstance(error, requests.Timeout):
        where = "the reply was complete" if exchange.received else "a reply came"
        return ProviderTimeoutError(f"the deadline passed before {where} from {host}")
    what = description(error)
    if exchange.received or isinstance(error, urllib3.exceptions.HTTPError):
        return ProviderResponseError(
            f"the reply from {host} broke off or is no valid HTTP ({what})"
        )
    return ProviderConnectionError(f"no reply from {host} ({what})")


def description(error: BaseException) -> str:
    """The exception at the bottom of what requests and urllib3 wrapped around it.

    Not the outermost one: it quotes the whole URL.
    """
    for _ in range(8):
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next(
                (item for item in reversed(error.args) if isinstance(item, Exception)),
                None,
            )
        if inner is None or inner is error:
            break
        error = inner
    return f"{type(error).__name__}: {error}"


def _forget_frames(error: BaseException) -> None:
    """Drop what the libraries' frames hold, and the request that requests attaches.

    Both have the headers in them, and tracebacks with local variables are logged.
    """
    chain: list[BaseException | None] = [error]
    for item in chain:
        if item is None or item.__traceback__ is None:
            continue
        item.__traceback__ = None
        if isinstance(item, requests.RequestException):
            item.request = None
        chain += (item.__cause__, item.__context__)
