"""Benchmarks: envproxy beside its peers and beside the best that could be, in one run on one machine.

Everything is local and synthetic unless asked otherwise: an upstream process plays the index, every server listens on
127.0.0.1 and is ended by its pid. What is compared is measured in turns (A B, B A, ...) and compared round by round,
so that a machine that slows down slows both. docs/benchmarks.md says what each number means and what it does not.
"""

import sys
from pathlib import Path

# The wheels of the tests are real ones; the tests are no package, pytest finds them in the same way.
sys.path.append(str(Path(__file__).parent.parent / "tests"))
