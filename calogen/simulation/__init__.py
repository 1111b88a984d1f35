"""Geant4 showers: detectors as data, physics lists by name, one run per process, production on many."""
