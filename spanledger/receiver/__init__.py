"""The receivers as a process of their own: see `docs/adr/0014-receivers-in-a-process-of-their-own.md`.

    exporters -> receiver process (doors, decoding, boundary, leaves) -> socket pair -> journal, projector, API

Python runs one thread at a time in a process: decoding what comes in and projecting what is recorded would take turns
on one core. Only requests that are whole and checked cross over, and only the process that holds the journal says that
one is durable.

- `wire`: the messages, and how they are sent.
- `record`: the journal as the receiver process has it.
- `process`: the receiver process itself.
- `supervisor`: starts it, answers it, starts it again where it dies.
"""
