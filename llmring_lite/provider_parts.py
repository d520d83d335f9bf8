"""Message parts, as every wire format reads them.

Each API has a table of the part types it knows; `convert_parts` walks a message by it.
A part that an API can't take is never left out: it is an error, also where the
request allows dropping parameters, for the message would say something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

from llmring_lite.exceptions import InvalidRequestError, UnsupportedParameterError
from llmring_lite.provider import JSON
from llmring_lite.schemas import LLMRequest, Message

T = TypeVar("T")

Converters: TypeAlias = Mapping[str, Callable[..., T]]
"""Part type -> what makes the API's own of it, from the part and its place.

The place is for messages: `messages[2].content[0] (file)`.
"""

PART_TYPES: Final = ("text", "image_url", "file", "input_audio")


def unsupported(parameter: str, reason: str) -> UnsupportedParameterError:
    """The error for what an API has no place for; `reason` is a clause."""
    return UnsupportedParameterError(
        f"{parameter} can't be used: {reason}", parameter=parameter
    )


def refuse(reason: str) -> Callable[..., NoReturn]:
    """The converter for parts that an API can't take."""

    def convert(_part: JSON, place: str, *_context: Any) -> NoReturn:
        raise unsupported(place, reason)

    return convert


def refuse_names(request: LLMRequest, api: str) -> None:
    """Raise if a message names its participant, for an API without such names.

    They are left out where the request allows dropping. The `name` of a result is the
    function's, which the call's id says as well.
    """
    if request.extra_params.get("drop_unsupported"):
        return
    for index, message in enumerate(request.messages):
        if message.name is not None and message.role != "tool":
            raise unsupported(
                f"messages[{index}].name", f"{api} has no names of participants"
            )


def convert_parts(
    content: list[Any], where: str, converters: Converters[T], *context: Any
) -> Iterator[T]:
    """What an API's converters make of the parts of a message.

    Args:
        where: The message's place, such as `messages[2]`.
        context: Handed to each converter after part and place.

    Raises:
        InvalidRequestError: A part is malformed, or of a type that isn't known.
        UnsupportedParameterError: From a converter.
    """
    for number, part in enumerate(content):
        place = f"{where}.content[{number}]"
        kind = part.get("type") if isinstance(part, Mapping) else None
        convert = converters.get(kind or "")
        if convert is None:
            raise InvalidRequestError(
                f"{place} has the unknown type {kind!r}; known are "
                + ", ".join(converters)
            )
        place = f"{place} ({kind})"
        try:
            converted = convert(part, place, *context)
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidRequestError(
                f"{place} is malformed ({type(error).__name__}: {error})"
            ) from error
        yield converted


def texts_only(message: Message, where: str, reason: str) -> list[JSON]:
    """The text parts of a message that can hold nothing else; a text is one part.

    Raises:
        UnsupportedParameterError: There is another part; `reason` is a clause.
        InvalidRequestError: A part is malformed, or of a type that isn't known.
    """
    content = message.content
    if not isinstance(content, list):
        return [{"type": "text", "text": content}] if content else []
    others = dict.fromkeys(PART_TYPES, refuse(reason))
    converters: Converters[JSON] = {**others, "text": _text}
    return list(convert_parts(content, where, converters))


def _text(part: JSON, place: str) -> JSON:
    if not isinstance(part["text"], str):
        raise TypeError("the text is none")
    return part


def image_url(part: JSON) -> str:
    """The address or data: URL of an image part."""
    image = part["image_url"]
    url: str = image if isinstance(image, str) else image["url"]
    return url


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def split_data_url(url: str, place: str) -> tuple[str, str]:
    """Media type and base64 text of a data: URL.

    Raises:
        InvalidRequestError: It is not in base64, or names no type.
    """
    header, comma, data = url[5:].partition(",")
    media_type, *options = header.lower().split(";")
    if not comma or "base64" not in options or "/" not in media_type:
        raise InvalidRequestError(
            f"{place} has a data: URL that is not of the form data:TYPE;base64,DATA"
        )
    return media_type.strip(), data
