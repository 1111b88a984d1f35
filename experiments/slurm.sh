#!/bin/sh
# One Slurm job for one experiment script: the paper's budget on a GPU, resumed until it is done.
#
#   make install EXTRA=gpu                                    once, on the cluster
#   sbatch experiments/slurm.sh atlas_vae --seeds 5           one job
#   sbatch --array=1-5 experiments/slurm.sh atlas_vae         one job for each seed
#   sbatch experiments/slurm.sh scan atlas_vae                a scan, which as many jobs as you like share (no --array)
#   sh experiments/slurm.sh atlas_vae --smoke                 try it without Slurm
#
# Five minutes before the time limit Slurm sends USR1: the job queues itself again and goes on from its last checkpoint.
# So it does after a fault that another try may not meet (exit code 75), up to nine times in a row: a file beside the log
# counts them. scancel and a preemption send TERM: the experiment ends in order; Slurm queues a preempted job again
# (--requeue).
#SBATCH --job-name=calogen
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
#SBATCH --output=calogen-%j.log
set -eu

# A foreign environment (LCG, Athena) would put its packages before ours, and so would the user's own.
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1

paper=${1:?"usage: sbatch experiments/slurm.sh <paper> [options of the experiment]"}
shift
cd "${SLURM_SUBMIT_DIR:-.}"
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then set -- --seed "$SLURM_ARRAY_TASK_ID" "$@"; fi

code=0
failures=calogen-${SLURM_JOB_ID:-}.failures # a line for each try that failed, since the last one that did not
forget() { rm -f "$failures" 2>/dev/null || true; }
# ends the experiment, which says so in its log
end() { kill -TERM "${!:-}" 2>/dev/null || true; wait "${!:-}" 2>/dev/null || true; forget; }
requeue() { scontrol requeue "$SLURM_JOB_ID" || exit 75; exit 0; }

trap 'end; requeue' USR1
trap 'end; exit 143' TERM
.venv/bin/python "experiments/$paper.py" --preset paper "$@" &
wait $! || code=$?
if [ "$code" -eq 75 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    { echo failed >>"$failures"; } || exit "$code"
    if [ "$(wc -l <"$failures")" -le 9 ]; then requeue; fi
fi
forget
exit "$code"
