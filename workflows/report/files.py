"""The report's files: the page, and beside it the film that the page plays."""

from __future__ import annotations

from pathlib import Path

from geometry.errors import InputError
from storage.take import Take
from workflows.outputs import write_output
from workflows.report.checks import QualityReport
from workflows.report.film import FILM_SUFFIX, film_of, write_take_film
from workflows.report.page import write_report


def write_report_files(
    take: Take, out: Path, made_from: str, quality: QualityReport | None = None, *, overwrite: bool = False
) -> bool:
    """Write `out` (HTML) and, for a fitted take with colour, its film of the same name; True when either was written.

    Files that are current are left alone; both are entered as files that show the take's subject. Raises InputError as
    `write_output` and `write_report` do.
    """
    beside = out.with_suffix(FILM_SUFFIX)
    if beside == out:
        raise InputError("the name of an HTML page", out.name, f"the film becomes {beside.name}; choose report.html")
    film, of = film_of(take, beside.name), take.header
    fresh = False
    if film is not None:
        fresh = write_output(beside, made_from, lambda path: write_take_film(take, path), overwrite=overwrite, of=of)
    return (
        write_output(
            out, made_from, lambda path: write_report(take, path, quality, film=film), overwrite=overwrite, of=of
        )
        or fresh
    )
