"""What a ring does with files: register them once, send them where they are needed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llmring_lite.routing import Router
from llmring_lite.senders import Senders

if TYPE_CHECKING:
    from llmring_lite.files import FileRegistry


class FileMethods:
    """The part of `LLMRing` that is about registered files."""

    _router: Router
    _senders: Senders

    @property
    def _files(self) -> FileRegistry:
        from llmring_lite.files import FileRegistry  # few programs have files

        registry: FileRegistry = self.__dict__.setdefault("_registry", FileRegistry())
        return registry

    def register_file(
        self, path: str | os.PathLike[str], *, name: str | None = None
    ) -> str:
        """Give a local file an id that calls to any provider may use.

        Nothing is sent yet: a provider gets the file with the first call that needs
        it, and again when its content has changed.

        Args:
            path: PDF, image, audio, text, or a video for Gemini.
            name: What providers and models are told. Default: the file's own.

        Returns:
            For `LLMRequest.files`, or a part `{"type": "file", "file": {"file_id"}}`.

        Raises:
            InvalidRequestError: The file can't be read, or is empty.
        """
        return self._files.register(path, name)

    def deregister_file(self, file_id: str) -> bool:
        """Forget a file, and delete its copies at the providers.

        A copy that can't be deleted is no error; the logger `llmring_lite` warns of it.

        Returns:
            Whether such a file was registered.
        """
        return self._files.deregister(
            file_id, lambda name: self._senders.of(self._router.endpoint(name))
        )

    def list_registered_files(self) -> list[dict[str, Any]]:
        """The registered files, in the order in which they were registered.

        Returns:
            Dicts with `id`, `path`, `name`, `size` in bytes, `media_type`, `sha256`,
            and `uploads`: provider -> `id` there, `uploaded_at`, `expires_at` (ISO
            8601; None: it stays) of each copy of the content as last seen.
        """
        return self._files.entries()
