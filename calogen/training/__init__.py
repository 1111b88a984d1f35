"""Train steps for several papers, and around them exact resume, logs, checkpoints."""
