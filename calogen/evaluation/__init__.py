"""Judging showers: observables, histograms, metrics; never Keras."""
