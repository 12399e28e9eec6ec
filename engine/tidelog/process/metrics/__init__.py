"""Metrics for Prometheus, and health: what a worker tells of itself (`samples`, `node`), which
series there are (`definitions`), their text (`exposition`), and the endpoint of the supervisor
(`endpoint`).
"""
