"""What an SRE sees first: a generated Grafana dashboard, its alert rules, and how Grafana and Prometheus find them."""
