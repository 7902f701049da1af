"""The `vismodels` command: data, reproduce, verify, doctor.

Results go to stdout, messages to stderr. Exit codes: 0 good, 1 failure, 2 usage, 3 data missing,
4 verification failed.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vismodels import __version__
from vismodels.config import ConfigError
from vismodels.verify import RUNS

if TYPE_CHECKING:
    from vismodels.cards.find import FileStatus

OK, FAILURE, USAGE, DATA_MISSING, UNVERIFIED = range(5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `--debug` shows the traceback of an error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        code: int = options.run_command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return FAILURE
    except BrokenPipeError:  # the reader (`head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        if options.debug:
            raise
        print(f"vismodels: {error}", file=sys.stderr)
        return _exit_code(error)
    return code


def _exit_code(error: Exception) -> int:
    from vismodels.cards.find import DataMissingError

    if isinstance(error, DataMissingError):
        return DATA_MISSING
    return USAGE if isinstance(error, ConfigError) else FAILURE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vismodels",
        description="Vision and diffusion models with reproducible pipelines.",
        epilog="Example: vismodels reproduce --run test --directory DIR",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_data(commands)
    _add_reproduce(commands)
    _add_verify(commands)
    doctor = commands.add_parser("doctor", help="check this machine and installation")
    doctor.set_defaults(run_command=_doctor)
    return parser


# --- data --------------------------------------------------------------------------------------


def _add_data(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    data = commands.add_parser("data", help="data cards: what is needed, where it is, what it is")
    verbs = data.add_subparsers(required=True, metavar="VERB")
    for verb, text, run in (
        ("list", "list the cards, and whether the data is there", _data_list),
        ("show", "print a card", _data_show),
        ("fetch", "download what may be downloaded", _data_fetch),
        ("check", "compare the files with the card's checksums", _data_check),
    ):
        command = verbs.add_parser(verb, help=text)
        if verb != "list":
            command.add_argument("card", help="name of the card (see `vismodels data list`)")
        if verb == "show":
            command.add_argument("--croissant", action="store_true", help="as Croissant JSON-LD")
        else:
            command.add_argument("--data-root", type=Path, default=Path("data"), metavar="DIR")
        command.set_defaults(run_command=run)


def _data_list(options: argparse.Namespace) -> int:
    from vismodels.cards.find import DataMissingError, find
    from vismodels.cards.schema import list_cards, load_card

    for name in list_cards():
        card = load_card(name)
        try:
            state = f"{len(find(name, options.data_root).files)} files"
        except DataMissingError:
            state = "absent"
        except OSError:
            state = "unreadable"
        print(f"{name:24}{state:12}{card.access:14}{card.title}")
    return OK


def _data_show(options: argparse.Namespace) -> int:
    import yaml

    from vismodels.cards.croissant import to_croissant
    from vismodels.cards.schema import load_card

    card = load_card(options.card)
    if options.croissant:
        print(json.dumps(to_croissant(card), indent=2, ensure_ascii=False))
    else:
        content = card.model_dump(mode="json", exclude_defaults=True)
        print(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100), end="")
    return OK


def _data_fetch(options: argparse.Namespace) -> int:
    from vismodels.cards.fetch import fetch

    return _report(fetch(options.card, options.data_root))


def _data_check(options: argparse.Namespace) -> int:
    from vismodels.cards.find import check, find

    code = _report(check(options.card, options.data_root))
    if code == OK:
        find(options.card, options.data_root)  # says how to get what is missing
    return code


def _report(statuses: "Iterable[FileStatus]") -> int:
    code = OK
    for status in statuses:
        changed = status.status == "changed"
        detail = f"  expected sha256 {status.expected}, found {status.found}" if changed else ""
        print(f"{status.status:12}{status.name}{detail}")
        code = UNVERIFIED if changed else code
    return code


# --- reproduce and verify ----------------------------------------------------------------------


def _add_reproduce(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = commands.add_parser(
        "reproduce", help="run the workflow: only what is missing or out of date is computed"
    )
    _add_run_options(command)
    command.add_argument("--cores", type=_positive, default=2, help="jobs at a time (default 2)")
    command.add_argument("--profile", default="default", help="default, slurm, kubernetes, a path")
    command.add_argument("--dry-run", action="store_true", help="only say what would be done")
    command.set_defaults(run_command=_reproduce)


def _add_verify(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = commands.add_parser("verify", help="check stored results against code and settings")
    _add_run_options(command)
    command.add_argument("--remove-bad", action="store_true", help="have bad results made again")
    command.add_argument("--json", action="store_true", help="print the findings as JSON")
    command.set_defaults(run_command=_verify)


def _add_run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--run", choices=RUNS, default="default", help="which configuration")
    command.add_argument("--directory", type=Path, default=Path(), metavar="DIR", help="where")
    command.add_argument(
        "--data-root", type=_folder, metavar="DIR",
        help="folder of data sets; those of the run are compared with what it read",
    )  # fmt: skip
    command.add_argument(
        "--configfile", type=Path, action="append", default=[], metavar="FILE",
        help="settings on top of the run's own; may be given several times",
    )  # fmt: skip
    command.add_argument(
        "--method", action="append", default=[], metavar="NAME",
        help="the report is of this method alone; may be given several times",
    )  # fmt: skip


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return path


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def _reproduce(options: argparse.Namespace) -> int:
    from vismodels.reproduce import reproduce

    code = reproduce(
        options.run,
        directory=options.directory,
        cores=options.cores,
        profile=options.profile,
        data_root=options.data_root,
        configfiles=options.configfile,
        methods=options.method,
        dry_run=options.dry_run,
    )
    return OK if code == 0 else FAILURE


def _verify(options: argparse.Namespace) -> int:
    from vismodels import verify

    config = verify.load_config(options.run, options.configfile, methods=options.method)
    findings = verify.verify(options.directory.resolve(), options.run, config, options.data_root)
    if options.json:
        print(json.dumps([vars(finding) for finding in findings], indent=1, ensure_ascii=False))
    else:
        for finding in findings:
            print(f"{finding.state:7} {finding.folder}")
            for reason in finding.reasons:
                print(f"        {reason}")
    bad = [finding for finding in findings if finding.is_bad]
    print(f"{len(findings)} folders, {len(bad)} not good", file=sys.stderr)
    if options.remove_bad and bad:
        from vismodels.reproduce import alone

        with alone(options.directory.resolve()):
            verify.remove_bad(options.directory.resolve(), findings)
    return UNVERIFIED if bad else OK


def _doctor(_options: argparse.Namespace) -> int:
    from vismodels.doctor import examine

    checks = examine()
    for check in checks:
        print(f"{'ok' if check.good else 'BAD':5}{check.name}: {check.text}")
    return OK if all(check.good for check in checks) else FAILURE


if __name__ == "__main__":
    sys.exit(main())
