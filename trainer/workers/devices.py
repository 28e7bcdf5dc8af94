"""Set the threads and the GPU of its node that a worker uses."""

import os

from etl.stderr import suppress_stderr
from trainer.workers.horovod import Workers

__all__ = ["configure_worker_devices", "threads_per_worker"]


def threads_per_worker(requested: int, cores: int, local_size: int) -> int:
    """Threads per operation: `requested` or, if that is 0, the node's cores divided by its workers.

    0, with which TensorFlow chooses, if the node has a single worker and none are requested.
    """
    if requested or local_size == 1:
        return requested
    return max(1, cores // local_size)


def configure_worker_devices(requested_threads: int, workers: Workers) -> None:
    """Have TensorFlow use this worker's threads and, if the node has GPUs, one of them.

    Call it before TensorFlow's first operation, after which it refuses these settings.
    """
    with suppress_stderr():
        import tensorflow as tf
    threads = threads_per_worker(requested_threads, len(os.sched_getaffinity(0)), workers.local_size)
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        gpu = gpus[workers.local_rank % len(gpus)]
        tf.config.set_visible_devices(gpu, "GPU")
        # Otherwise the first process on a GPU reserves all its memory.
        tf.config.experimental.set_memory_growth(gpu, enable=True)
