"""`python -m llmring_lite`."""

from __future__ import annotations

import sys

from llmring_lite.cli import main

if __name__ == "__main__":
    sys.exit(main())
