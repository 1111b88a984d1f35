"""Comparison of generated showers with Geant4's; only the classifiers need Keras."""
