"""Reports: pages of results and evaluations."""
