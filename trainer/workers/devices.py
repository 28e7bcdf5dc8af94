"""The threads and the GPU of a node that one worker takes."""

import os

from etl.stderr import suppress_stderr
from trainer.workers.horovod import Workers

__all__ = ["configure_worker_devices", "threads_per_worker"]


def threads_per_worker(requested: int, cores: int, local_size: int) -> int:
    """Threads of one operation: `requested`, or an even part of the cores; 0, TensorFlow's choice, for one worker."""
    if requested or local_size == 1:
        return requested
    return max(1, cores // local_size)


def configure_worker_devices(requested_threads: int, workers: Workers) -> None:
    """Give TensorFlow this worker's threads and, where there are GPUs, one of them.

    Call it before TensorFlow's first operation, after which these settings are refused.
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
        # Otherwise the first process takes all memory of the GPU.
        tf.config.experimental.set_memory_growth(gpu, enable=True)
