"""Drawing finished histograms and profiles; only scripts and the report write files."""
