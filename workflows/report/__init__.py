"""The report: one self-contained HTML page with pictures that shows whether a take and its head are good.

In go a take and what checks and evaluation found; out come one page that opens anywhere, without a network, and beside
it a film of the fitted head over the picture. A further part of the page is one more function in `page.py`'s table.
"""

from workflows.report.checks import Check, QualityReport
from workflows.report.files import write_report_files
from workflows.report.page import write_report

__all__ = ["Check", "QualityReport", "write_report", "write_report_files"]
