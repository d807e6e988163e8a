#!/usr/bin/env bash
# Train on every GPU of one machine, or of several: run it on each with the same RUN on a file system that all share.
#
#   NODES=1 GPUS=4 docs/launch/torchrun.sh opus100 runs/opus100
#   NODES=2 GPUS=8 NODE=0 FIRST=10.0.0.1 docs/launch/torchrun.sh opus100 runs/opus100     # on the first machine
#   NODES=2 GPUS=8 NODE=1 FIRST=10.0.0.1 docs/launch/torchrun.sh opus100 runs/opus100     # on the second
#
# It goes on where it stood if it is started again. ctrl-C or SIGTERM saves first.
set -euo pipefail
config=$1 run=$2
shift 2
exec torchrun \
  --nnodes "${NODES:-1}" --nproc-per-node "${GPUS:-1}" --node-rank "${NODE:-0}" \
  --master-addr "${FIRST:-127.0.0.1}" --master-port "${PORT:-29500}" \
  -m -- recambio train "$config" --run "$run" --resume \
  trainer.num_nodes="${NODES:-1}" trainer.devices="${GPUS:-1}" trainer.strategy=ddp "$@"
