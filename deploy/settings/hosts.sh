# Environment of a job on several hosts; deploy/mpirun.sh reads this file. A variable that is set already stays.
#
# Where hosts have several networks, name the one that the ranks use, as an interface or as 10.1.0.0/16:
#     INTERFACE=ib0 bash deploy/mpirun.sh -n 72 python -m etl.extract
# Horovod with Gloo (horovodrun --gloo) and NCCL take the name of an interface only.

if [ -n "${INTERFACE:-}" ]; then
    export OMPI_MCA_btl_tcp_if_include=${OMPI_MCA_btl_tcp_if_include:-$INTERFACE} # MPI messages
    export OMPI_MCA_oob_tcp_if_include=${OMPI_MCA_oob_tcp_if_include:-$INTERFACE} # mpirun and its daemons
    case $INTERFACE in
    */*) ;;
    *)
        export HOROVOD_GLOO_IFACE=${HOROVOD_GLOO_IFACE:-$INTERFACE}
        export NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-$INTERFACE}
        ;;
    esac
fi

# mpirun notices a dead link to an idle host 10 + 3 x 5 s after its last message; Open MPI's own values make it 480 s.
export OMPI_MCA_oob_tcp_keepalive_time=${OMPI_MCA_oob_tcp_keepalive_time:-10}
export OMPI_MCA_oob_tcp_keepalive_intvl=${OMPI_MCA_oob_tcp_keepalive_intvl:-5}
export OMPI_MCA_oob_tcp_keepalive_probes=${OMPI_MCA_oob_tcp_keepalive_probes:-3}

# No ServerAliveInterval here: if ssh ends before the keepalive does, mpirun says that a daemon did not start: status 1.
export OMPI_MCA_plm_rsh_agent=${OMPI_MCA_plm_rsh_agent:-ssh -o ConnectTimeout=20 -o ServerAliveInterval=0}

# Seconds for which deploy/mpirun.sh lets mpirun wait for lost hosts once no rank runs any more beside mpirun.
LOST_HOST_S=${LOST_HOST_S:-20}
