"""Reports: pages and tables that show results and evaluations."""
