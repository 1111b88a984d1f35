"""One file per paper's model, and nothing else."""
