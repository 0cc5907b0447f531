"""How soon agents may ask again, so that their questions never take more than a share of the core that answers them.

Where a few ask, each may ask whenever it has news, and is told of news at once. Where hundreds do, each is told a
pause, and asks for more in one go: what a question costs hardly depends on how many pieces it deals out. The cost is
measured: the CPU time of all that the event loop did, over the questions of that time, so whatever else keeps the
proxy busy makes agents ask less often, too. Pauses differ, or all who once asked together would do so for ever.

Pure: time and CPU time come in, in seconds of clocks that do not run backwards, and chance.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from random import Random
from typing import Final

SHARE: Final = 0.6  # of a core; the rest is for the bytes, and for installers
SHORTEST_S: Final = 0.05  # a shorter pause saves nothing
LONGEST_S: Final = 1.0  # of a lease's five seconds, and agents can queue pieces for no longer
SPREAD: Final = (0.75, 1.25)  # of a pause: the shortest and the longest that somebody is told
ASKS_S: Final = 3.0  # who has not asked for so long does not ask any more
COSTS_S: Final = (0.0002, 0.002)  # of a question: the least and the most that is believed
FIRST_COST_S: Final = 0.0005  # until it was measured
MEASURED_S: Final = 1.0
MEASURED: Final = 100  # questions at least: of fewer the cost would be that of everything else


def pause_s(asking: int, cost_s: float) -> float:
    """How long each of so many is to wait from one question to the next, 0 if they are few."""
    seconds = min(LONGEST_S, asking * cost_s / SHARE)
    return seconds if seconds >= SHORTEST_S else 0.0


class Pace:
    """Knows who asks, and what that costs. Whoever asks is named by anything that can be compared."""

    def __init__(self, random: Random) -> None:
        self.cost_s = FIRST_COST_S
        self._random = random
        self._asked = OrderedDict[Hashable, float]()
        self._since = (0.0, 0.0)  # the times at which the measurement began, by both clocks
        self._questions = 0

    def asks(self, who: Hashable, now: float, worked_s: float) -> float:
        """Somebody asks; how long the next question is to wait. `worked_s` is the CPU time of the event loop."""
        self._asked[who] = now
        self._asked.move_to_end(who)
        while next(iter(self._asked.values())) <= now - ASKS_S:
            self._asked.popitem(last=False)
        self._measure(now, worked_s)
        return pause_s(len(self._asked), self.cost_s) * self._random.uniform(*SPREAD)

    def ends(self, who: Hashable) -> None:
        """Somebody will not ask any more."""
        self._asked.pop(who, None)

    def _measure(self, now: float, worked_s: float) -> None:
        self._questions += 1
        began, worked_before = self._since
        if now < began + MEASURED_S:
            return
        if self._questions >= MEASURED:
            least, most = COSTS_S
            cost_s = max(least, min(most, (worked_s - worked_before) / self._questions))
            self.cost_s = (self.cost_s + cost_s) / 2
        self._since, self._questions = (now, worked_s), 0
