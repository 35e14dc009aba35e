"""What one call costs on this computer, to the tail, and what the computer adds to it.

``bench`` times ``Scorer.score_into`` at each batch size: hot (back to back), cold (the caches full
of something else) and after idle gaps (as between touchdowns). ``_timing`` calls, ``_percentiles``
says what so many calls can tell, ``_gaps`` and ``_tail`` what the computer itself takes, ``_host``
and ``_activity`` what it is and did, ``_words`` prints. For qualifying a tester's computer; other
functions than a scorer's are timed by ``knowngood._bench``.
"""

from ._percentiles import CallTimes
from ._plan import BenchPlan
from ._result import BenchResult
from ._run import bench

__all__ = ["BenchPlan", "BenchResult", "CallTimes", "bench"]
