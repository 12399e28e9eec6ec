"""Several hosts as one cluster: who is the controller, and how the others reach it."""
