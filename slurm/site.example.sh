# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Copy this to slurm/site.sh, which git leaves alone, and keep the lines your cluster needs. Batch jobs and launch/submit
# read it before anything else.

# Modules that braid was built with, where they are not Debian's packages or a prefix:
# module load gcc/12 openmpi/4.1 hdf5/1.14

# The interface that joins the nodes (ip -br a), where NCCL or Open MPI choose another:
# export NCCL_SOCKET_IFNAME=ib0
# export OMPI_MCA_btl_tcp_if_include=ib0 OMPI_MCA_oob_tcp_if_include=ib0

# srun, mpirun or files (no PMIx in this SLURM: `srun --mpi=list`):
# export BRAID_LAUNCHER=mpirun

# What every sbatch of yours needs:
# export SBATCH_ACCOUNT=myproject SBATCH_PARTITION=gpu
