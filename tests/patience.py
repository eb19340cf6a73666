"""How long a test waits for what takes moments: a bound for a machine that is busy with other things, never a measure."""

from typing import Final

BUSY_SECONDS: Final = 60.0
"""Of waiting for an answer, a thread, a process or the view: what takes longer stands still. It is a second at most where the
machine has nothing else to do; on two cores that are busy with other work a test may get a tenth of that."""
