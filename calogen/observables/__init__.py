"""Observables: showers as named arrays."""
