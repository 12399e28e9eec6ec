"""Real faults under real clients: hosts in network namespaces, an ensemble of ZooKeeper, histories
that a checker reads. `python -m tests.faults`; see `__main__`.
"""
