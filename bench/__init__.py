"""Benchmarks: the same traffic into Spanledger, into its peers and into the bare engine. `python -m bench.run`."""
