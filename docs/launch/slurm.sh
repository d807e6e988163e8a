#!/usr/bin/env bash
# Train under Slurm, on two nodes of four GPUs: sbatch docs/launch/slurm.sh opus100 runs/opus100
#
# Slurm sends SIGTERM two minutes before the time is over: the run saves and ends, and the job puts itself back into the queue, also
# from the preparation and the final evaluation, which go on where they stood. A
# node that fails ends the job; Slurm starts it again (--requeue), and the run goes on from its last checkpoint.
#SBATCH --job-name=recambio
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=4
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
config=$1 run=$2
shift 2
srun recambio train "$config" --run "$run" --resume \
  trainer.num_nodes="$SLURM_NNODES" trainer.devices="$SLURM_NTASKS_PER_NODE" trainer.strategy=ddp "$@"
status=$?
# 130: interrupted, and saved. 143: by SIGTERM before the command had begun. srun reports the highest status of its tasks.
if [ "$status" -eq 130 ] || [ "$status" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
