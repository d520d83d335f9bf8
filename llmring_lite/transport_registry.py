"""A registry's document over the network.

- https, or plain http on loopback; no user info, no credential, no cookie, only GET.
- A redirect passes the same checks, never leads from elsewhere to this machine, and
  there are at most 3.
- The whole takes no longer than `timeout_s`, a dripping server included; the body has
  at most `max_bytes`.

Proxies and CA bundles from the environment count, as for `requests`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin

import requests
from requests.structures import CaseInsensitiveDict

from llmring_lite._version import __version__
from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import RegistryError
from llmring_lite.keys import Origin, parse_origin
from llmring_lite.transport_deadline import (
    Adapter,
    Exchange,
    opening,
    read_at_most,
    settings_for,
)
from llmring_lite.transport_errors import NETWORK_ERRORS, description

MAX_REDIRECTS: Final = 3
TIMEOUT_S: Final = 30.0

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def fetch(url: str, max_bytes: int, timeout_s: float = TIMEOUT_S) -> bytes | None:
    """The body at a URL; None if the server says that there is nothing (404, 410).

    Args:
        url: Of the document.
        max_bytes: A larger body is refused.
        timeout_s: Seconds for all of it: connecting, redirects, body.

    Raises:
        RegistryError: The URL isn't acceptable, there is no answer in time, or none
            that can be used.
    """
    deadline = Deadline(timeout_s)
    origin = _checked_origin(url)
    for _ in range(MAX_REDIRECTS + 1):
        with requests.Session() as session:
            session.mount("https://", adapter := Adapter())
            session.mount("http://", adapter)
            answer = _get(session, url, origin, deadline, max_bytes)
        if not isinstance(answer, str):
            return answer
        target = urljoin(url, answer)
        found = _checked_origin(target)
        if found.is_loopback and not origin.is_loopback:
            raise RegistryError(f"{url} redirects to this machine, to {found.host}")
        url, origin = target, found
    raise RegistryError(f"{url} redirects more than {MAX_REDIRECTS} times")


def _checked_origin(url: str) -> Origin:
    try:
        origin = parse_origin(url.partition("?")[0])
    except ValueError as error:
        raise RegistryError(f"no registry can be there: {error}") from None
    if origin.scheme != "https" and not origin.is_loopback:
        raise RegistryError(
            f"a registry at {origin.host} is not read over plain http: use https"
        )
    return origin


def _get(
    session: requests.Session,
    url: str,
    origin: Origin,
    deadline: Deadline,
    max_bytes: int,
) -> bytes | str | None:
    """The body, None if there is no document, or where else it is (a str)."""
    exchange = Exchange(deadline)
    if deadline.expired():
        raise _timed_out(url)
    settings = settings_for(
        session,
        f"{origin.scheme}://{origin.host}",
        is_loopback=origin.is_loopback,
    )
    try:
        with opening(exchange):
            response = session.get_adapter(url).send(
                _request(url), timeout=deadline.timeout(), **settings
            )
        with response:
            status = response.status_code
            if status in _REDIRECTS and response.headers.get("Location"):
                return str(response.headers["Location"])
            if status in (404, 410):
                return None
            if status != 200:
                raise RegistryError(f"{url} answered with HTTP {status}")
            body = read_at_most(response, max_bytes, decode=True)
            if body is None:
                raise RegistryError(f"{url} is larger than {max_bytes} bytes")
            return body
    except NETWORK_ERRORS as error:
        if deadline.expired() or isinstance(error, requests.Timeout):
            raise _timed_out(url) from error
        raise RegistryError(f"{url} can't be read ({description(error)})") from error


def _request(url: str) -> requests.PreparedRequest:
    # Prepared by hand: a session would add what `.netrc` says for the host.
    prepared = requests.PreparedRequest()
    prepared.method = "GET"
    prepared.url = url
    prepared.headers = CaseInsensitiveDict(
        {
            "User-Agent": f"llmring-lite/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
    )
    return prepared


def _timed_out(url: str) -> RegistryError:
    return RegistryError(f"{url} could not be read in time")
