"""Tidelog beside its peers: the same workloads in turn on every broker that can be set up here.

`python -m bench.versus`; what is measured stands in shapes.py, who takes part in peers/.
"""
