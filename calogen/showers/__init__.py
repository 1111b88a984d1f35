"""Showers: geometries, samples, files in every public layout."""
