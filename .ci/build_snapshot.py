"""Build llmring_lite/registry_snapshot.json from a registry's data.

    python .ci/build_snapshot.py REGISTRY_FOLDER [--out FILE]

The folder has the registry's layout: PROVIDER/models.json. What is kept are facts:
names, aliases, limits, prices, capabilities, status, version and date; no descriptions.
Prints the versions and the size, and fails if it is 60 KB or more.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llmring_lite.registry import (  # noqa: E402
    FIELDS,
    FLAGS,
    SNAPSHOT_PROVIDERS,
    Catalogue,
)
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
        compact = compacted(catalogue)
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


def compacted(catalogue: Catalogue) -> dict[str, Any]:
    """Plain data for JSON: rows under the names of their columns.

    What is true or false is one string a model: `1`, `0`, `-` for unknown.
    """
    columns = [n for n in FIELDS if n not in (*FLAGS, "provider")]
    rows = []
    for model in catalogue:
        row: list[Any] = [_as_integer(getattr(model, name)) for name in columns]
        while row[-1] is None:
            row.pop()
        flags = [getattr(model, name) for name in FLAGS]
        bits = "".join("-" if flag is None else "01"[flag] for flag in flags)
        rows.append([bits, *row])
    return {
        "version": catalogue.version,
        "updated_at": catalogue.updated_at,
        "flags": list(FLAGS),
        "columns": columns,
        "models": rows,
    }


def _as_integer(value: Any) -> Any:
    """5.0 as 5: the same number, two characters shorter."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


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
