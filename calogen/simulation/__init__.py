"""Geant4 showers: detectors as data, physics lists, a run per process, many in parallel."""
