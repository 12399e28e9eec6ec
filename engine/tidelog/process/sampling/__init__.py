"""Where a worker's time goes: samples taken inside it when somebody on this machine asks
(ADR 0036).
"""
