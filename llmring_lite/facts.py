"""What a call needs to know of a model: price, window, API, and whether it goes away.

And whether a prompt fits into the window: its length is estimated.

Each model is looked up once, offline. The registry and its data are loaded by the
first call that needs them, and the network is never used from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llmring_lite import cost
from llmring_lite.registry import RegistryModel
from llmring_lite.schemas import LLMRequest

if TYPE_CHECKING:
    from llmring_lite.registry_client import Registry

_SMALL_BYTES: Final = 4_000
"""A shorter prompt fits everywhere, and isn't worth counting."""

_BYTES_PER_TOKEN: Final = 4
"""About right for English; code and other languages need more tokens, not fewer."""

_MAX_KNOWN: Final = 4096  # names may come from a gateway's users


class ModelFacts:
    """What is remembered of a model.

    Attributes:
        rates: Its prices, or the `cost_status` that says why there are none.
        window: The largest prompt in tokens, None if unknown.
        api_endpoint: The registry's word for the provider's API it is served by;
            `responses` also where only OpenAI itself says so.
    """

    __slots__ = ("api_endpoint", "rates", "window")

    def __init__(self, ref: str, model: RegistryModel | None, find: cost.Find) -> None:
        self.rates = cost.find_rates(ref, find)
        self.window = None if model is None else window_tokens(model)
        self.api_endpoint = None if model is None else model.api_endpoint
        if ref.startswith("openai:"):
            # Here, because it compiles patterns that only OpenAI's models need.
            from llmring_lite.provider_openai_models import needs_responses

            if needs_responses(ref.partition(":")[2]):
                self.api_endpoint = "responses"


class Facts:
    """The facts of models by `provider:model`.

    Serves any number of threads: what two of them look up at once is the same.
    """

    def __init__(self, registry_url: str | None = None) -> None:
        self._url = registry_url
        self._registry: Registry | None = None
        self._known: dict[str, ModelFacts] = {}
        self._warned: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": {}}

    @property
    def registry(self) -> Registry:
        """The registry's client."""
        if self._registry is None:
            # Only who needs a fact pays for it.
            from llmring_lite.registry_client import Registry

            self._registry = Registry(self._url, fetch=fetch)
        return self._registry

    def clear(self) -> None:
        """Look everything up again when it is asked for."""
        self._known.clear()
        if self._registry is not None:
            self._registry.forget()

    def find(self, ref: str) -> RegistryModel | None:
        """A model by `provider:model`; None if the registry doesn't know it."""
        provider, _, name = ref.partition(":")
        return self.registry.find(provider, name)

    def of(self, ref: str) -> ModelFacts:
        """What is known of a model. Warns, once, if it is going away."""
        found = self._known.get(ref)
        if found is None:
            model = self.find(ref)
            found = ModelFacts(ref, model, self.registry.find)
            if model is not None:
                self._warn_if_deprecated(ref, model)
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[ref] = found
        return found

    def _warn_if_deprecated(self, ref: str, model: RegistryModel) -> None:
        stays = model.is_active is not False and model.deprecated_date is None
        if stays or ref in self._warned:
            return
        self._warned.add(ref)
        import logging  # rare

        from llmring_lite.registry_select import deprecation

        catalogue = self.registry.catalogue(model.provider)
        if catalogue is not None:
            text = deprecation(model, catalogue)
            logging.getLogger("llmring_lite").warning("%s %s", ref, text)


def fetch(url: str, max_bytes: int) -> bytes | None:
    """Read a registry's URL over the network; see `transport_registry.fetch`."""
    from llmring_lite import transport_registry  # it loads `requests`

    return transport_registry.fetch(url, max_bytes)


# Does a prompt fit? ---------------------------------------------------------------


def window_tokens(model: RegistryModel) -> int | None:
    """The largest prompt that may fit, in tokens; None if it is unknown.

    Some registries give the window as `max_input_tokens`, others what is left of it
    by the longest reply. A candidate is only left out if its prompt fits by neither.
    """
    if model.max_input_tokens is None:
        return None
    return model.max_input_tokens + (model.max_output_tokens or 0)


def estimate_tokens(request: LLMRequest) -> int | None:
    """About how many tokens the text of a request has; None if it is short.

    A lower bound rather than the mean: images, files and the provider's own words
    count for nothing.
    """
    total = 0
    for message in request.messages:
        content = message.content
        if isinstance(content, str):
            total += _size(content)
        elif content:
            total += sum(_size(part.get("text")) for part in content)
        for call in message.tool_calls or ():
            total += _size(call.get("function", {}).get("arguments"))
    if total < _SMALL_BYTES:
        return None
    return total // _BYTES_PER_TOKEN


def _size(text: Any) -> int:
    """Bytes in UTF-8."""
    if not isinstance(text, str):
        return 0
    # Python knows of a text whether it is ASCII; encoding would copy it.
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
