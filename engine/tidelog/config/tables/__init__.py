"""Configs as rows of facts: data only, nothing is computed here."""
