"""The share of a node that one worker takes: its threads, its GPU."""

import os

import tensorflow as tf

__all__ = ["claim", "threads_of"]


def threads_of(asked: int, cores: int, local_size: int) -> int:
    """Threads of one operation: `asked`, or an even share of the cores; 0, TensorFlow's choice, for a worker alone."""
    if asked or local_size == 1:
        return asked
    return max(1, cores // local_size)


def claim(asked: int, local_rank: int, local_size: int) -> None:
    """Give TensorFlow this worker's threads and, where there are GPUs, one of them.

    Comes before the first operation: TensorFlow refuses later changes.
    """
    threads = threads_of(asked, len(os.sched_getaffinity(0)), local_size)
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        mine = gpus[local_rank % len(gpus)]
        tf.config.set_visible_devices(mine, "GPU")
        tf.config.experimental.set_memory_growth(mine, enable=True)
