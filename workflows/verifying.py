"""`mien verify`: may the card be wiped? With an ASC MHL list of what was on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capture.media_hash_list import HISTORY_FOLDER, MediaHistory, packing_list
from capture.source_folder import base_of
from capture.verification import Progress, VerificationReport, verify_recording
from geometry.errors import InputError
from storage.places import Place, place_of
from storage.take import Take
from workflows.answers import printable

MHL_SUFFIX = ".mhl"


@dataclass(frozen=True)
class Verification:
    """The answer of `mien verify`."""

    report: VerificationReport
    """What was compared, and every reason not to delete."""
    mhl: str
    """Where the ASC MHL list was written; empty if it was not."""
    mhl_note: str
    """Why it is there, or why there is none."""

    @property
    def exit_code(self) -> int:
        """0: safe to delete; 1: not."""
        return 0 if self.report.safe else 1

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return self.report.to_json() | {"mhl": self.mhl, "mhl_note": self.mhl_note}

    def as_text(self) -> str:
        """For people; the verdict comes first."""
        report = self.report
        what = f"{report.file_count} files ({report.byte_count / 1e6:.1f} MB), {report.frame_count} frames"
        if report.safe:
            lines = [f"SAFE TO DELETE {report.source}: {what}, all as ingested and bit for bit in {report.take}"]
        else:
            reasons = ", ".join(f"{count} {kind}" for kind, count in report.fault_counts.items())
            lines = [f"NOT SAFE {report.source}: {reasons} (compared {what} with {report.take})"]
            lines += [f"  {fault.kind:<7} {fault.where}: {fault.problem}" for fault in report.faults]
            if (more := sum(report.fault_counts.values()) - len(report.faults)) > 0:
                lines.append(f"  and {more} more")
        lines += [f"note: {note}" for note in report.notes]
        lines.append(f"ASC MHL: {self.mhl + ' ' if self.mhl else ''}{self.mhl_note}")
        return printable("\n".join(lines))


def verify(
    source: Path, take_path: Path | str, mhl: Path | None = None, progress: Progress | None = None
) -> Verification:
    """Compare a recording with its take, and list its files as ASC MHL if they are just those of the ingest.

    The list goes into the recording's own `ascmhl/`, as its next generation; beside the take if the recording cannot
    be written; or to `mhl`. Raises InputError: no take, an unfinished one, nothing of its recording at `source`, `mhl`
    inside the recording or there already.
    """
    if mhl is not None and mhl.exists():
        raise InputError("a free place for the ASC MHL list", f"{mhl}, which exists", "name another file with --mhl")
    if mhl is not None and mhl.absolute().is_relative_to(source.absolute()):
        got = f"{mhl}, which would be one more file of it"
        raise InputError("a place outside of the recording for --mhl", got, "leave --mhl out, or name another file")
    take = Take.open(take_path)
    report = verify_recording(source, take, progress)
    if not report.sources_whole:
        return Verification(report, "", "no list written: the files are not just those of the ingest")
    return _with_list(report, source.absolute(), take, mhl)


def _with_list(report: VerificationReport, source: Path, take: Take, mhl: Path | None) -> Verification:
    base, whole = base_of(source), source.is_dir()
    ignored = ("._*",) if report.litter else ()
    if mhl is not None:
        place, name, why = place_of(mhl.absolute().parent), mhl.name, "written where you asked"
    else:
        try:
            written = MediaHistory.read(base).append(report.files, ignored, whole)
            return Verification(report, str(written), f"written as the next generation of {base / HISTORY_FOLDER}")
        except InputError as error:
            address = take.place.address.rstrip("/")
            place = place_of(address.rpartition("/")[0] or "/")
            name = _free_name(place, address.rpartition("/")[2])
            why = f"written beside the take, because the recording's folder takes none ({error.got})"
    place.write(name, packing_list(base, report.files, ignored, whole), durable=True)
    return Verification(report, f"{place.address.rstrip('/')}/{name}", why)


def _free_name(place: Place, stem: str) -> str:
    """A name for a list beside others of earlier verifications."""
    name, number = f"{stem}{MHL_SUFFIX}", 1
    while place.size(name) is not None:
        number += 1
        name = f"{stem}.{number}{MHL_SUFFIX}"
    return name
