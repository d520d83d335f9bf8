"""Build llmring_lite/registry_snapshot.json from a registry's data.

    python tools/build_snapshot.py REGISTRY_FOLDER [--out FILE]

The folder has the registry's layout: PROVIDER/models.json. What is kept are facts:
names, aliases, limits, prices, capabilities, status, version and date; no descriptions.
Prints the versions and the size, and fails if it is 60 KB or more.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llmring_lite.registry import SNAPSHOT_PROVIDERS  # noqa: E402
from llmring_lite.registry_parse import parse_document  # noqa: E402

LIMIT_BYTES = 60_000
SOURCE = "https://llmring.github.io/registry"


def build(folder: Path) -> str:
    """The snapshot's text: one line a model, so that a diff can be read."""
    providers = []
    dates = []
    for provider in SNAPSHOT_PROVIDERS:
        path = folder / provider / "models.json"
        catalogue = parse_document(path.read_bytes(), provider, source=str(path))
        compact = catalogue.to_compact()
        rows = ",\n".join(_dumps(row) for row in compact.pop("models"))
        head = _dumps(compact)[:-1]
        providers.append(f'{_dumps(provider)}:{head},"models":[\n{rows}]}}')
        dates.append((catalogue.updated_at or "")[:10])
        print(
            f"{provider}: version {catalogue.version} of {catalogue.updated_at}, "
            f"{len(catalogue.models)} models"
        )
    body = ",\n".join(providers)
    head = f'"source":{_dumps(SOURCE)},"date":{_dumps(max(dates))}'
    return f'{{{head},"providers":{{\n{body}}}}}\n'


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a registry's files")
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "llmring_lite" / "registry_snapshot.json",
        help="where to write",
    )
    args = parser.parse_args()
    text = build(args.folder)
    size = len(text.encode())
    if size >= LIMIT_BYTES:
        print(f"{size} bytes is too much: {LIMIT_BYTES} at most", file=sys.stderr)
        return 1
    args.out.write_text(text, encoding="utf-8")
    print(f"{args.out}: {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
