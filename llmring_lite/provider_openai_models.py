"""What the names of OpenAI's models, and of their imitators, say about them.

Names may carry the prefix of a fine-tune or a gateway (`ft:`, `openai/`).
Deployments on Azure have any name; of these nothing is known.
"""

from __future__ import annotations

import re
from typing import Final

# https://platform.openai.com/docs/guides/reasoning, https://docs.x.ai/docs/models
_REASONING: Final = r"(?:ft:)?(?:o\d|gpt-(?:[5-9]|\d\d)|codex-|computer-use|grok-[4-9])"
_PLAIN: Final = (
    r"(?:ft:)?(?:gpt-[34]|gpt-5-chat|chatgpt|grok-[23](?!-mini))|.*non-reasoning"
)

# https://platform.openai.com/docs/guides/latest-model#gpt-5-2-parameter-compatibility
_FIXED_SAMPLING: Final = (
    r"(?:ft:)?(?:o\d|gpt-5(?:-mini|-nano|-pro|-codex)?(?:$|-\d|:)|codex-mini)"
)


def reasons(model: str) -> bool | None:
    """Whether the model reasons before it replies; None for an unknown name."""
    name = _bare(model)
    if re.match(_PLAIN, name):
        return False
    return True if re.match(_REASONING, name) else None


def has_fixed_sampling(model: str) -> bool:
    """Whether it refuses a temperature and top_p other than 1.

    Later models take them when they don't reason, which is for the API to judge.
    """
    return re.match(_FIXED_SAMPLING, _bare(model)) is not None


# https://github.com/openai/openai-python src/openai/types/shared/responses_model.py
# lists them beside the models of Chat Completions, which answers 404 to these.
_RESPONSES_ONLY: Final = (
    r"(?:ft:)?(?:o\d(?:-mini)?-(?:pro|deep-research)|gpt-[\d.]+-(?:pro|codex|cyber)"
    r"|codex-|computer-use)"
)


def needs_responses(model: str) -> bool:
    """Whether OpenAI serves the model by its Responses API alone."""
    return re.match(_RESPONSES_ONLY, _bare(model)) is not None


def knows_breakpoints(model: str) -> bool:
    """Whether its parts may bear `prompt_cache_breakpoint`.

    From gpt-5.6 on prefixes are matched there:
    https://platform.openai.com/docs/guides/prompt-caching
    """
    version = re.search(r"\bgpt-(\d+)(?:\.(\d+))?", model)
    return version is not None and (int(version[1]), int(version[2] or 0)) >= (5, 6)


def _bare(model: str) -> str:
    return model.lower().rpartition("/")[2]
