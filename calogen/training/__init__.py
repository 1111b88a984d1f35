"""Train steps that several papers share, and what surrounds them: exact resume, logs, checkpoints."""
