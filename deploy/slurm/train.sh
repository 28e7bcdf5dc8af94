#!/bin/bash
# Training, one worker a GPU. It goes on from the last checkpoint.
#
# NCCL finds InfiniBand by itself. Where it does not, set these in [environment] of the site file:
#     NCCL_SOCKET_IFNAME=ib0, HOROVOD_GLOO_IFACE=ib0   interface of the first connections
#     NCCL_IB_HCA=mlx5_0                               adapter; NCCL_DEBUG=INFO shows which one it takes
run trainer.run --store "$STORE" --out "$RUN" --resume
