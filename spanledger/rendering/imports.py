"""What `import` did, as plain lines: one a file, and the total."""

from collections.abc import Iterable, Iterator

from spanledger.importing import FileReport
from spanledger.rendering.phrases import plural, printable

_NOUNS = {"traces": "span", "logs": "log record", "metrics": "metric"}


def report_lines(report: FileReport) -> Iterator[str]:
    """`run.pb: 43 spans accepted, 1 refused`, and under it why."""
    yield f"{printable(str(report.path))}: {_outcome(report.accepted, report.refused, report.bodies_refused)}"
    for reason in report.reasons:
        yield f"    {printable(reason)}"
    if report.reasons_left_out:
        yield f"    and {report.reasons_left_out:,} more"


def total_line(reports: Iterable[FileReport]) -> str:
    """The sum of all files."""
    accepted: dict[str, int] = {}
    files = bodies = bodies_refused = refused = 0
    for report in reports:
        files += 1
        bodies += report.bodies
        bodies_refused += report.bodies_refused
        refused += report.refused
        for label, records in report.accepted.items():
            accepted[label] = accepted.get(label, 0) + records
    return f"total: {plural(files, 'file')}, {plural(bodies, 'request')}: {_outcome(accepted, refused, bodies_refused)}"


def _outcome(accepted: dict[str, int], refused: int, bodies_refused: int) -> str:
    taken = ", ".join(plural(records, _NOUNS[label]) for label, records in accepted.items() if records)
    text = f"{taken or 'nothing'} accepted, {plural(refused, 'record')} refused"
    return text + (f", {plural(bodies_refused, 'request')} refused whole" if bodies_refused else "")
