"""Generation: from a trained run to showers."""
