"""Reproduction: a paper's networks trained, chosen, compared."""
