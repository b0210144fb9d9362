"""The report: one self-contained HTML page with pictures that shows whether a take and its head are good.

In go a take and what checks and evaluation found; out comes one file that opens anywhere, without a network. A further
part of the page is one more function in the table of `page.py`.
"""

from workflows.report.checks import Check, QualityReport
from workflows.report.page import write_report

__all__ = ["Check", "QualityReport", "write_report"]
