"""The command line: which commands there are, and what becomes of their errors.

Exit codes: 0 done, 1 a check failed, 2 wrong usage or bad input, 70 a fault of mien itself, 130 interrupted.
With --json, standard output carries one JSON object and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import tyro

from geometry.errors import InputError
from workflows.answers import clean_stdout, keep_traceback, os_error_in_words
from workflows.commands.batches import batch
from workflows.commands.judging import bench, check, evaluate, inspect
from workflows.commands.reconstruction import export, fit, fuse, report, run
from workflows.commands.recording import calibrate, ingest, simulate
from workflows.commands.scans import fit_scan
from workflows.commands.shoot_day import forget, verify
from workflows.commands.upkeep import models

COMMANDS: dict[str, Callable[..., int]] = {
    "simulate": simulate,
    "calibrate": calibrate,
    "ingest": ingest,
    "verify": verify,
    "check": check,
    "inspect": inspect,
    "fuse": fuse,
    "fit": fit,
    "fit-scan": fit_scan,
    "batch": batch,
    "export": export,
    "report": report,
    "run": run,
    "evaluate": evaluate,
    "bench": bench,
    "forget": forget,
    "models": models,
}

DESCRIPTION = "From a volumetric recording of a face to a head that an XR engine plays."


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    given = sys.argv[1:] if arguments is None else arguments
    with clean_stdout():
        try:
            code = tyro.extras.subcommand_cli_from_dict(
                COMMANDS, prog="mien", description=DESCRIPTION, args=given, config=(tyro.conf.FlagCreatePairsOff,)
            )
        except InputError as error:
            print(f"mien: {error}", file=sys.stderr)
            code = 2
        except KeyboardInterrupt:
            print("mien: interrupted; the same command continues where this one stopped", file=sys.stderr)
            code = 130
        except OSError as error:
            print(f"mien: {os_error_in_words(error)}", file=sys.stderr)
            code = 2
        except Exception:  # noqa: BLE001 - the last line of defence: no traceback reaches a user
            print(f"mien: a fault of mien itself; its details are in {keep_traceback()}", file=sys.stderr)
            code = 70
    sys.exit(code)
