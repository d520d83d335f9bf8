"""`receipts verify / keygen / checkpoint / bundle`: what the receipts prove."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from typing import Any, Final

from llmring_lite.cli_options import add_json_option
from llmring_lite.cli_output import note, paint, plural, say, say_json
from llmring_lite.cli_receipts import (
    add_period_options,
    add_receipts_option,
    output_file,
    period_of,
    receipts_of,
)
from llmring_lite.receipts_certify import certify, check_bundle
from llmring_lite.receipts_place import KEY_VARIABLE, default_key, find_key
from llmring_lite.receipts_read import Period
from llmring_lite.receipts_verify import Report, load_certificate, verify

# verify --------------------------------------------------------------------------


def add_verify_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--public-key",
        metavar="KEY",
        help="who must have signed: Base64 as `receipts keygen` prints it, or a file "
        "with that or with PEM (default: the file's own key, if it has one)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="a checkpoint or bundle that was kept elsewhere: what the file must hold",
    )
    add_json_option(parser)
    add_receipts_option(parser)


def run_verify(args: Namespace) -> int:
    public_key = None
    if args.public_key is not None:
        from llmring_lite.receipts_sign import parse_public_key  # see there

        public_key = parse_public_key(args.public_key)
    kept = None if args.checkpoint is None else load_certificate(args.checkpoint)
    report = verify(receipts_of(args), public_key=public_key, checkpoint=kept)
    wrong: list[str] = []
    if report.ok and kept is not None and kept.record["kind"] == "bundle":
        wrong = check_bundle(report.path, kept)
    if args.json:
        say_json(_as_json(report, wrong))
    else:
        _say_report(report, wrong)
        if report.ok:
            _note_what_is_not_proved(report, args)
    return 0 if report.ok and not wrong else 1


def _as_json(report: Report, wrong: list[str]) -> dict[str, Any]:
    found = {
        **report._asdict(),
        "ok": report.ok and not wrong,
        "problem": report.problem and report.problem._asdict(),
    }
    return {**found, "bundle_differs_in": wrong} if wrong else found


def _say_report(report: Report, wrong: list[str]) -> None:
    if report.problem is not None:
        line, reason, message = report.problem
        word = paint(reason.replace("_", " "), "red")
        say(f"{report.path}: line {line}: {word}: {message}")
        return
    say(
        f"{report.path}: {plural(report.lines, 'line')} in order, "
        f"{plural(report.receipts, 'receipt')}"
    )
    if report.public_key is not None:
        say(f"all signed with the key {report.public_key}")
    if report.mended:
        say(
            f"{plural(report.mended, 'line')} lost because a program was stopped while "
            "it wrote"
        )
    if wrong:
        say(f"the bundle says otherwise than the file: {', '.join(wrong)}")


def _note_what_is_not_proved(report: Report, args: Namespace) -> None:
    if report.public_key is None:
        note("Not signed: whoever can write the file can make such a chain anew.")
    elif args.public_key is None:
        note("With --public-key you also know who signed.")
    if args.checkpoint is None:
        note("With --checkpoint you also know that nothing was removed at the end.")


# keygen --------------------------------------------------------------------------


def add_key_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--key",
        metavar="FILE",
        help=f"the private key (default: {KEY_VARIABLE}, else the state folder's)",
    )


def run_keygen(args: Namespace) -> int:
    from llmring_lite.receipts_sign import make_key  # see there

    path = args.key or default_key()
    say(make_key(path).public_key)
    note(f"The private key is in {path}; above is the public one, to give to others.")
    if path != find_key():
        note(f"Receipts are signed with it where {KEY_VARIABLE} names that file.")
    note("What has been begun without a key stays unsigned: begin another file.")
    return 0


# checkpoint, bundle --------------------------------------------------------------


def add_certificate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--output", metavar="FILE", help="instead of stdout")
    add_key_option(parser)
    add_receipts_option(parser)


def run_checkpoint(args: Namespace) -> int:
    return _certify(args, None)


def add_bundle_arguments(parser: ArgumentParser) -> None:
    add_period_options(parser)
    add_certificate_arguments(parser)


def run_bundle(args: Namespace) -> int:
    return _certify(args, period_of(args))


def _certify(args: Namespace, period: Period | None) -> int:
    key = args.key or find_key()
    certificate = certify(receipts_of(args), key, datetime.now(UTC), period)
    if args.output is None:
        say_json(certificate)
    else:
        with output_file(args.output) as file:
            file.write(json.dumps(certificate, indent=2) + "\n")
    if certificate["public_key"] is None:
        note(f"This {certificate['kind']} is not signed, as the receipts aren't.")
    return 0


COMMANDS: Final = {
    "receipts verify": (add_verify_arguments, run_verify),
    "receipts keygen": (add_key_option, run_keygen),
    "receipts checkpoint": (add_certificate_arguments, run_checkpoint),
    "receipts bundle": (add_bundle_arguments, run_bundle),
}
