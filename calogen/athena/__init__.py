"""Athena: trained runs as files for ATLAS's production code."""
