"""Features: what networks see of showers, and batches of them."""
