"""The demo: a genuine agent whose run Spanledger records. Nothing here knows how Spanledger stores or shows it.

`shop_server` is an MCP server over stdio, `script` says what a model would, `reviewer` is the person who approves,
`agent` joins the three, and `telemetry` sends what they emit to an OTLP/HTTP endpoint.
"""
