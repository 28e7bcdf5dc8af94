# Functions of the job scripts: prepare the site, run a command so that it can be stopped, queue the job again.
#
# etl.submit sets these before it sources this file; to submit a script without etl.submit, set them in its place:
#     JOB               name of the job
#     CHAIN             folder of the chain, absolute: the attempts of each job are recorded in it
#     MARK              file that tells how far the job has come: STORE.journal, RUN/checkpoint.npz, or empty
#     SETTINGS_DIGEST   SHA-256 of pipeline.toml; the job stops if the file is another now
#     PYTHON            array of the words that start Python
#     LAUNCHER          mpirun or srun
#     OPTIONS           array of the launcher's options
#     RANKS             number of ranks
#     STRIPE            command that sets the striping of a new folder, or empty
#     prepare_site      function that loads modules
# and the paths that the script uses. The job runs in the folder that holds pipeline.toml.
#
# mpirun: Slurm signals this script (--signal=B:USR1@120), which hands the signal on to mpirun, and mpirun to the ranks.
# srun: Slurm signals the ranks themselves (--signal=USR1@120), and this script goes on.
# A command that was stopped ends with 75; the job is then queued again under its number, so that jobs that need it wait.
# shellcheck shell=bash disable=SC2153  # the variables above
set -u

launched=0 # process id of the launcher, while it runs
is_told=0  # whether the time is nearly up

tell() {
    is_told=1
    echo "chain: $JOB: told to stop" >&2
    if [ "$launched" != 0 ]; then kill -USR1 "$launched" 2>/dev/null; fi
}
trap tell USR1

stop() {
    echo "chain: $JOB: $1" >&2
    exit 1
}

# note begin, note end STATUS: keeps the record of attempts and says what comes next by its status
note() { "${PYTHON[@]}" -m etl.submit.attempts "$1" "$CHAIN" "$JOB" "$MARK" "$SETTINGS_DIGEST" "${@:2}"; }

# start RANKS COMMAND ARGUMENTS...: runs a command of etl or trainer to its end, which a signal may bring about
start() {
    local -a line
    local status
    case $LAUNCHER in
    # Slurm does not hand cpus-per-task on to srun since 22.05. No --kill-on-bad-exit: it would kill the ranks that
    # are about to end with 75; those that another rank has left alone are ended after two minutes.
    srun) line=(srun --ntasks "$1" --cpus-per-task "${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=0 --wait=120) ;;
    *) line=(mpirun -n "$1") ;;
    esac
    line+=("${OPTIONS[@]}" "${PYTHON[@]}" -m "${@:2}")
    if [ "$is_told" = 1 ]; then return 75; fi
    printf '%s chain: %s, attempt %s:' "$(date +%FT%T)" "$JOB" "$((${SLURM_RESTART_COUNT:-0} + 1))" >&2
    printf ' %q' "${line[@]}" >&2
    echo >&2
    "${line[@]}" &
    launched=$!
    if [ "$is_told" = 1 ]; then kill -USR1 "$launched" 2>/dev/null; fi # it came just before
    wait "$launched"
    status=$?
    while kill -0 "$launched" 2>/dev/null; do # a signal has ended the wait, not the launcher
        wait "$launched"
        status=$?
    done
    launched=0
    return "$status"
}

# run COMMAND ARGUMENTS...: the whole job, on RANKS ranks
run() {
    local status
    prepare_site || stop "the site cannot be prepared: see the lines above, and modules and setup of the site file"
    note begin
    status=$?
    if [ "$status" != 0 ]; then exit "$status"; fi
    start "$RANKS" "$@"
    status=$?
    note end "$status"
    status=$?
    if [ "$status" = 75 ]; then queue_again; fi
    exit "$status"
}

# queue_again: Slurm ends this script meanwhile; the wait keeps its own end from being taken for the job's
queue_again() {
    scontrol requeue "$SLURM_JOB_ID" || stop "it cannot be queued again; submit the chain again: python -m etl.submit"
    sleep 300
}

# make_folder FOLDER: makes the folder of a store with the site's striping, unless it is there
make_folder() {
    if [ -z "$1" ] || [ -d "$1" ]; then return; fi
    mkdir -p -- "$1" || stop "the folder $1 cannot be made"
    if [ -n "$STRIPE" ]; then
        # shellcheck disable=SC2086  # a command of several words
        $STRIPE "$1" || echo "chain: $JOB: warning: '$STRIPE $1' failed; the store is written without it" >&2
    fi
}
