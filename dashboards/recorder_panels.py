"""Whether the recorder itself is well: the glance at the top, ingest, projection, queries.

Every description says what the panel shows and what to do when it looks bad.
"""

from dashboards.grafana import GREEN, RED, YELLOW, Json, graph, stat, steps_of
from dashboards.promql import per_minute, per_second, quantile, quantiles, selector

# The job's name in prometheus.yml: `up` is the only metric here that Spanledger does not expose itself.
JOB = "spanledger"


def at_a_glance() -> list[Json]:
    errors = "sum(rate(" + selector("spanledger_tool_calls_total", 'outcome="error"') + "[5m]))"
    calls = "sum(rate(" + selector("spanledger_tool_calls_total") + "[5m]))"
    return [
        stat(
            "Servers up",
            "How many of the chosen servers answered Prometheus's last scrape. Below the number you run: read that "
            "server's log (stderr) and its /healthz. Senders keep their data and retry while it is down.",
            "none",
            f'sum(up{{job="{JOB}", instance=~"$instance"}}) or vector(0)',
            thresholds={"mode": "absolute", "steps": [{"color": RED, "value": None}, {"color": GREEN, "value": 1}]},
        ),
        stat(
            "Runs in progress",
            "Agent runs whose last segment has not ended. It only grows: agents start and do not finish, or their "
            "exporters lose the last spans; compare with the runs by status below.",
            "none",
            "sum(" + selector("spanledger_runs", 'status="running"') + ") or vector(0)",
        ),
        stat(
            "Tool error ratio, 5 min",
            "Tool calls that ended in error, as a share of all executed. Above 5% look at the errors row for the tool, "
            "then list the runs of `GET /v1/runs?status=error` and replay one.",
            "percentunit",
            f"(({errors}) or vector(0)) / (({calls}) > 0) or vector(0)",
            thresholds=steps_of((0.05, YELLOW), (0.2, RED)),
        ),
        stat(
            "Lag now",
            "How far the view is behind the journal, worst server. Acknowledged data is safe however large it is; "
            "queries are stale by as much. Above 10 s see the projection row.",
            "s",
            f"max({selector('spanledger_projection_lag_seconds')})",
            thresholds=steps_of((10, YELLOW), (60, RED)),
        ),
        stat(
            "Frames in quarantine",
            "Frames of the journal that could not be projected: recorded, but absent from every query. Any: find the "
            "cause in the log, then `spanledger rebuild` with a version that can read them.",
            "none",
            f"sum({selector('spanledger_quarantined_frames')})",
            thresholds=steps_of((1, RED)),
        ),
        stat(
            "Requests refused, 1 h",
            "Requests answered with an error in the last hour. The ingest row names the reason: journal, "
            "storage, internal and overloaded are ours, and the sender retries; the others are for the sender to mend.",
            "none",
            f"round(sum(increase({selector('spanledger_ingest_refused_requests_total')}[1h]))) or vector(0)",
            thresholds=steps_of((1, YELLOW), (100, RED)),
        ),
    ]


def ingest() -> list[Json]:
    return [
        graph(
            "Accepted records per second, by signal",
            "Spans, log records and metrics journalled and acknowledged. Zero while agents run: check the exporters' "
            "endpoint and the refusals.",
            "short",
            [(per_second("signal", "spanledger_ingest_records_total"), "{{signal}}")],
            stacked=True,
        ),
        graph(
            "Accepted bytes per second, by signal",
            "Bytes of OTLP in the journal before it compresses them. Compare with the growth of the journal on disk "
            "below; a rise without more records means longer histories or larger contents: look at what the newest "
            "runs put into their messages.",
            "Bps",
            [(per_second("signal", "spanledger_ingest_bytes_total"), "{{signal}}")],
            stacked=True,
        ),
        graph(
            "Requests per second, by transport and outcome",
            "Every OTLP request over gRPC and HTTP by how it ended. Anything but stored and empty is explained in the "
            "next two panels. Much disconnected: senders time out before the acknowledgement; see its latency.",
            "reqps",
            [(per_second("transport, outcome", "spanledger_ingest_requests_total"), "{{transport}} {{outcome}}")],
            stacked=True,
        ),
        graph(
            "Refused requests per minute, by reason",
            "Whole requests refused. journal_full, disk_reserve: free disk space. journal_failed: check the disk, then "
            "restart. overloaded: slow the senders or raise the limits. view_behind: see the projection row. The sender "
            "keeps all these and retries. Any other reason is the sender's: its log line ingest_refused gives the cause.",
            "short",
            [(per_minute("reason", "spanledger_ingest_refused_requests_total"), "{{reason}}")],
            stacked=True,
            thresholds=steps_of((1, RED)),
        ),
        graph(
            "Refused records per minute, by signal and reason",
            "Records refused inside accepted requests (OTLP partial success). The sender drops them for good: mend the "
            "instrumentation that the reason points at.",
            "short",
            [(per_minute("signal, reason", "spanledger_ingest_refused_records_total"), "{{signal}} {{reason}}")],
            stacked=True,
            thresholds=steps_of((1, RED)),
        ),
        graph(
            "Acknowledgement latency",
            "From the last byte of a request to its durable acknowledgement. Above 0.5 s: compare with the fsync panel; "
            "equal means the disk is slow, otherwise the processor is full. Senders that time out send again; copies "
            "are recorded, but counted once.",
            "s",
            [
                (quantile(share, "spanledger_ack_seconds", "signal"), f"p{share * 100:.0f} {{{{signal}}}}")
                for share in (0.5, 0.99)
            ],
            thresholds=steps_of((0.5, RED)),
        ),
        graph(
            "Requests in flight",
            "Requests received but not yet answered, and those of them that are on their way to the disk. A plateau is the "
            "admission bound: more load is refused with a retry delay, nothing is lost. Nearly all on their way to the "
            "disk: it is the disk that is slow. Otherwise slow the senders or give the server more processor time.",
            "short",
            [
                (f"sum by (instance) ({selector('spanledger_ingest_requests_in_flight')})", "in flight {{instance}}"),
                (f"sum by (instance) ({selector('spanledger_journal_queue_depth')})", "to the disk {{instance}}"),
            ],
        ),
        graph(
            "Bytes in flight",
            "Body bytes held by the requests in flight. A plateau is requests_in_flight_max_mb: more is refused with a "
            "retry delay. Raise it only if the memory is there: a body takes several times its size while it is decoded.",
            "bytes",
            [(f"sum by (instance) ({selector('spanledger_ingest_bytes_in_flight')})", "{{instance}}")],
        ),
        graph(
            "Accepted bytes per second, by tenant",
            "Who sends how much. Past a hundred tenants the rest is one series, other. One that grows out of proportion: "
            "ask its owner before the disk does.",
            "Bps",
            [(per_second("tenant", "spanledger_ingest_bytes_total"), "{{tenant}}")],
            stacked=True,
        ),
        graph(
            "Journal fsync",
            "One fsync for each group commit: the floor of the acknowledgement latency. Above 0.1 s the disk is shared "
            "or failing; move the data folder to a disk of its own.",
            "s",
            quantiles("spanledger_journal_fsync_seconds", 0.5, 0.99),
            thresholds=steps_of((0.1, RED)),
        ),
    ]


def projection() -> list[Json]:
    return [
        graph(
            "Journal and view sequence",
            "The last durable frame and the last one that queries can see; they should lie on one another. A growing "
            "gap: ingest outruns the projector. A flat view under a rising journal: it has stopped; read the log, then "
            "restart the server, which continues where the view ends.",
            "short",
            [
                (selector("spanledger_journal_sequence"), "journal {{instance}}"),
                (selector("spanledger_view_sequence"), "view {{instance}}"),
            ],
        ),
        graph(
            "Projection lag",
            "Age of the oldest frame that is not in the view yet. Nothing is lost, but queries are stale by as much. "
            "Steadily rising: ingest outruns the projector; see the batch time, and slow the senders.",
            "s",
            [(selector("spanledger_projection_lag_seconds"), "{{instance}}")],
            thresholds=steps_of((10, YELLOW), (60, RED)),
        ),
        graph(
            "Projection lag in bytes",
            "Request bytes that are in the journal and not in the view. At view_lag_max_mb requests are refused with "
            "view_behind until it has caught up. Rising: ingest outruns the projector, or the engine is down; /readyz says.",
            "bytes",
            [(selector("spanledger_projection_lag_bytes"), "{{instance}}")],
        ),
        graph(
            "Quarantined frames",
            "Frames that could not be projected. They are safe in the journal and missing from queries; the log names "
            "each with its cause. `spanledger rebuild` tries them again.",
            "short",
            [(selector("spanledger_quarantined_frames"), "{{instance}}")],
            thresholds=steps_of((1, RED)),
        ),
        graph(
            "Projection batch time",
            "Time to write one batch of frames to the view. Rising slowly as the view grows: the engine lacks memory. "
            "Rising at once: a slow disk, or a heavy query beside it.",
            "s",
            quantiles("spanledger_projection_batch_seconds", 0.5, 0.99),
            thresholds=steps_of((5, RED)),
        ),
        graph(
            "Journal and view on disk",
            "Bytes of the record and of its view. The journal is what must be kept and backed up; the view can be made "
            "again from it. Plan disk from the slope over a week.",
            "bytes",
            [
                (selector("spanledger_journal_bytes"), "journal {{instance}}"),
                (selector("spanledger_view_bytes"), "view {{instance}}"),
            ],
        ),
        graph(
            "Disk free",
            "Bytes left on the file system of the data folder. Below disk_reserve_mb requests are refused with disk_reserve, "
            "so that the view can still be written. Free space or grow the volume before: nothing is deleted by itself.",
            "bytes",
            [(selector("spanledger_disk_free_bytes"), "{{instance}}")],
        ),
    ]


def queries() -> list[Json]:
    api_rate = per_minute("status", "spanledger_api_request_seconds_count")
    return [
        graph(
            "API requests per minute, by status",
            "Answers of the query API, probes and scrapes among them. 4xx: the caller, and the problem document says what "
            "to change. 5xx: ours; the log has the cause.",
            "short",
            [(api_rate, "{{status}}")],
            width=12,
            stacked=True,
        ),
        graph(
            "API latency p95, by route",
            "Time to the end of the response, streams to their end. A lookup above 1 s: compare with the batch time of "
            "the projection, both share the engine; then narrow the query or its time range.",
            "s",
            [(quantile(0.95, "spanledger_api_request_seconds", "route"), "{{route}}")],
            width=12,
            thresholds=steps_of((1, RED)),
        ),
    ]
