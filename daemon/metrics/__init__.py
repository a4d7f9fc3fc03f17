"""What can be counted, for Prometheus.

Counting costs an addition; everything else happens when somebody asks, prometheus-client's import among it.
"""
