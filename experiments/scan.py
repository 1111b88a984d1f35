"""Scans of hyperparameters, on validation showers: what would the paper have chosen?

    python experiments/scan.py atlas_vae                        # one value at a time; it resumes
    python experiments/scan.py atlas_vae --sampler tpe --trials 50 --workers 2
    python experiments/scan.py atlas_vae --finalists --results experiments/scans

What is varied stands in experiments/scans/PAPER.toml, each list of values with its source; --grid takes your own file.
Samplers: one-at-a-time (the starting point, each value against it, the file's variants), grid (all combinations, in an
order of chance), tpe (Optuna suggests, after the starting point, what may be better than the best).

Trainings, Optuna's journal, scan.csv and the report lie in runs/scans/PAPER/PRESET/. Every call goes on where the last
one stopped: finished trainings are read, interrupted ones continue, and what failed because a worker died runs again.
Any number of processes, also on other machines with the same file system, may share the work: --workers N starts
several here, and on a cluster each job is one call (sbatch experiments/slurm.sh scan PAPER, as often as you like). A
trial whose training diverges is a failed trial, with its reason in the table. Nothing is read from the test file.
"""

from pathlib import Path

from calogen.reproduction.scan import scan

if __name__ == "__main__":
    scan(__doc__, Path(__file__).with_name("scans"))
