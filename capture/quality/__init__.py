"""Whether a take can be used or must be shot again: named checks with figures, limits and advice.

In goes a finished take, out comes a `QualityReport`. What is dear (pictures, synchrony, agreement of the cameras) is
measured once, in `evidence.py`; a check only judges it. One more check is a function from Evidence to findings in a
file of its own, and its name in the table of `checking.py`; docs/quality.md says what each limit rests on.
"""

from capture.quality.check import Check, TimeCourse, Verdict
from capture.quality.checking import check_take
from capture.quality.report import QualityReport

__all__ = ["Check", "QualityReport", "TimeCourse", "Verdict", "check_take"]
