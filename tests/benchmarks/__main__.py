"""``python -m tests.benchmarks``. The work is elsewhere, where child processes can find it."""

from tests.benchmarks.figures import main

main()
