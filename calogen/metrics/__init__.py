"""Metrics: arrays as numbers with their errors."""
