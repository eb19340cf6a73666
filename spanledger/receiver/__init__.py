"""The receivers as a process of their own: see `docs/adr/0013-receivers-in-a-process-of-their-own.md`.

    exporters -> receiver process (doors, decoding, boundary, leaves) -> socket pair -> journal, projector, API

Python runs one thread at a time in a process: decoding what comes in and projecting what is recorded would take turns
on one core. Only requests that are whole and checked cross over, and only the process that holds the journal says that
one is durable.

- `wire`: the messages, and how they are sent.
- `process`: the receiver process itself; `record` is the journal as it has it, `limits` its bounds.
- `supervisor`: stores what it sends, and starts it again where it dies; `life` is the process from its start to its end.
- `families`: its metrics on their way to the server's page; `readiness`: what `/readyz` says of it.
"""
