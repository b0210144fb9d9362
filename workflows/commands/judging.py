"""What a take is worth: inspect, check, evaluate, bench."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import tyro

from workflows.answers import print_json
from workflows.commands.arguments import JsonFlag, OptionalPath, TakePath

BenchName = tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="[NAME]")]]


def inspect(take: TakePath, as_json: JsonFlag = False) -> int:
    """What a take holds: cameras, frames, time, results.

    Args:
        take: the take.
    """
    from storage.take import Take
    from workflows.inspecting import inspect_take

    summary = inspect_take(Take.open(take))
    if as_json:
        print_json(asdict(summary))
    else:
        print(summary.as_text())
    return 0


def check(take: TakePath, html: OptionalPath = None, as_json: JsonFlag = False) -> int:
    """Integrity and quality of a take; exits with 1 when it must be shot again.

    Args:
        take: the take.
        html: also write a page with pictures and time courses.
    """
    from capture.quality import check_take
    from storage.take import Take

    opened = Take.open(take)
    report = check_take(opened)
    if html is not None:
        from workflows.quality_page import write_quality_page

        write_quality_page(opened, report, html)
    if as_json:
        print_json(report.to_json())
    else:
        for verdict in ("fail", "warn"):
            for row in report.checks:
                if row.verdict == verdict:
                    print(f"{row.verdict:<7} {row.name}{f' {row.camera}' if row.camera else ''}: {row.message}")
        for verdict in ("unknown", "pass"):
            alike = [row for row in report.checks if row.verdict == verdict]
            for name in dict.fromkeys(row.name for row in alike):
                rows = [row for row in alike if row.name == name]
                print(f"{verdict:<7} {name} ({len(rows)})" + (f": {rows[0].message}" if verdict == "unknown" else ""))
    return 0 if report.passed else 1


def evaluate(take: TakePath, truth: OptionalPath = None, as_json: JsonFlag = False) -> int:
    """Figures of a take's results against the truth, where it has one, and against its own depth.

    Args:
        take: the take.
        truth: the truth's folder, if it no longer lies beside the recording.
    """
    from storage.take import Take
    from workflows.evaluating import evaluate_take

    figures = evaluate_take(Take.open(take), truth)
    if as_json:
        print_json(figures)
    else:
        for name, value in figures.items():
            print(f"{name:<32} {value:10.4g}")
    return 0


def bench(name: BenchName = None, gate: bool = False, update_baseline: bool = False, as_json: JsonFlag = False) -> int:
    """Run our benchmarks; with --gate, exit with 1 when a figure misses its target or is worse than the baseline.

    Args:
        name: desk, portrait, scan, raster, ingest, fit, fit-scan or fuse; all of them if left out.
        gate: compare with benchmarks/targets.toml and benchmarks/baseline.json.
        update_baseline: make the figures of what was run the new baseline.
    """
    from workflows import benching
    from workflows.progress import say

    results = benching.bench(name)
    if as_json:
        print_json(benching.as_json(results))
    else:
        for benchmark, figures in results.items():
            for metric in figures.metrics:
                print(f"{benchmark:<9} {metric.key:<40} {metric.value:10.4g} {metric.unit}")
    verdict = benching.judge(results) if gate else benching.Verdict([], [])
    for line in verdict.not_counted:
        say(f"not counted: {line}")
    for line in verdict.missed:
        say(line)
    if update_baseline:
        benching.update_baseline(results)
    return 1 if verdict.missed else 0
