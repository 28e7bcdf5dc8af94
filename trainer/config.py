"""Settings of the trainer's commands; field names are flags, keys of `pipeline.toml` and keys of run.json."""

from dataclasses import dataclass
from pathlib import Path

from etl.bands import BAND_BY_NAME, GROUPS
from etl.settings import setting

__all__ = ["DECAYS", "EvaluateRunSettings", "PredictRunSettings", "RunSettings", "pixel_sets"]

DECAYS = ("steps", "polynomial", "none")
"""What happens to the learning rate after the warm-up."""

_BAND_SETS = {
    "rgb": (("data_10m", ("B04", "B03", "B02")),),
    "all": (("data_super", ()),),
    "native": tuple((f"data_{group.name}", ()) for group in GROUPS),
}


def pixel_sets(bands: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What `--bands` means: each pixel array that is read, with the bands of it that the network sees; () for all.

    Raises:
        ValueError: a name is neither one of rgb, all, native nor a band.
    """
    if bands in _BAND_SETS:
        return _BAND_SETS[bands]
    names = tuple(bands.split(","))
    unknown = [name for name in names if name not in BAND_BY_NAME]
    if unknown:
        raise ValueError(f"--bands must be rgb, all, native or a list such as B02,B8A, got {bands!r}")
    at_10m = all(name in GROUPS[0].bands for name in names)
    return (("data_10m" if at_10m else "data_super", names),)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Train ResNet-50 on a store's training patches: one worker alone, or one worker a rank under mpirun."""

    store: Path = setting(Path("data/store.h5"), "store to train on, as made by etl.extract")
    out: Path = setting(Path("runs/latest"), "folder of the run: record, checkpoint, logs")
    bands: str = setting("all", "bands that the network sees: rgb, all (twelve at 10 m), native, or a list: B02,B8A")
    classes: int = setting(0, "19 to convert 43 classes on reading; 0 = those of the store")
    batch: int = setting(64, "rows that each worker takes in one step", "patches")
    epochs: int = setting(100, "epochs to train where --steps is 0", "epochs")
    steps: int = setting(0, "steps to train; 0 = whole epochs, see --epochs", "steps")
    rate: float = setting(0.1, "learning rate for 256 patches a step over all workers; scaled by their number")
    momentum: float = setting(0.9, "Nesterov momentum (not in the paper)")
    warmup: float = setting(5.0, "length of the warm-up, from the rate of one worker to that of all", "epochs")
    decay: str = setting("steps", "rate after the warm-up: a tenth after 30, 60, 80 epochs, or to 0 at the end as "
                         "a polynomial", choices=DECAYS)  # fmt: skip
    lars: float = setting(0.0, "trust of layer-wise rates (LARS), for batches above 8,192; 0.001 is usual, 0 = off")
    l2: float = setting(1e-4, "L2 penalty on the weights of all convolutions (not in the paper)")
    dropout: float = setting(0.5, "fraction of features dropped before the last layer")
    mixup: float = setting(0.2, "alpha of mixup's beta distribution (not in the paper); 0 = off")
    turn: bool = setting(True, "rotate and mirror each patch at random")
    norm_momentum: float = setting(0.9, "momentum of batch normalisation's moving statistics (not in the paper)")
    sync_norm: bool = setting(False, "normalise over the batches of all workers together")
    rare_weight: float = setting(0.0, "exponent of the negative/positive ratio used as class weight; 0 = unweighted")
    oversample: float = setting(0.0, "fraction of rows below which a class is drawn more often; 0 = off")
    weights: Path | None = setting(None, "file of ImageNet weights of Keras's ResNet50 without top, for --bands rgb")
    precision: str = setting("float32", "arithmetic of the layers", choices=("float32", "bfloat16"))
    compress: bool = setting(False, "send gradients between workers as float16")
    shuffle_block: int = setting(
        1, "neighbouring rows that stay together in the shuffled order; larger for slow disks", "rows"
    )
    validate_every: int = setting(1, "from one validation on the split val to the next; 0 = never", "epochs")
    patience: int = setting(0, "validations without a higher micro-F1 on val after which training stops; 0 = never")
    checkpoint_steps: int = setting(0, "from one checkpoint to the next within an epoch; 0 = at its end alone", "steps")
    stall: int = setting(600, "time without progress after which workers end with status 75; 0 = never", "seconds")
    resume: bool = setting(False, "continue from the checkpoint in --out; starts a new run where there is none")
    deterministic: bool = setting(False, "make runs on the same machine reproducible to the bit; slower")
    seed: int = setting(0, "seed of first weights, order of rows, augmentation, dropout")
    threads: int = setting(0, "threads of one operation; 0 divides the cores of this node among its workers")
    dry_run: bool = setting(False, "print the plan and write nothing")

    def __post_init__(self) -> None:
        pixel_sets(self.bands)
        at_least_1 = ("batch", "shuffle_block", "epochs")
        at_least_0 = ("steps", "seed", "threads", "warmup", "lars", "l2", "stall", "mixup", "rare_weight", "oversample",
                      "validate_every", "patience", "checkpoint_steps")  # fmt: skip
        for least, names in ((1, at_least_1), (0, at_least_0)):
            for name in names:
                if getattr(self, name) < least:
                    raise ValueError(f"{_flag(name)} must be at least {least}, got {getattr(self, name)}")
        if not self.rate > 0:
            raise ValueError(f"--rate must be above 0, got {self.rate}")
        for name in ("momentum", "dropout", "norm_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{_flag(name)} must lie in [0, 1), got {getattr(self, name)}")
        if self.classes not in (0, 19, 43):
            raise ValueError(f"--classes must be 0, 19 or 43, got {self.classes}")
        if self.weights is not None and self.bands != "rgb":
            raise ValueError(f"--weights are ImageNet's, which need --bands rgb, got {self.bands}")
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"--out must be a folder, {self.out} is a file")

    def total_steps(self, epoch_steps: int) -> int:
        """Steps of the whole run, where an epoch takes `epoch_steps`."""
        return self.steps or self.epochs * epoch_steps


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class EvaluateRunSettings:
    """Score a finished run on one split of a store, on any number of workers."""

    run: Path = setting(Path("runs/latest"), "folder of the run, as made by trainer.run")
    store: Path = setting(Path("data/store.h5"), "store to score it on")
    split: str = setting("test", "rows to score", choices=("train", "val", "test", "none", "all"))
    batch: int = setting(64, "rows that each worker takes in one step", "patches")
    threads: int = setting(0, "threads of one operation; 0 divides the cores of this node among its workers")

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"--batch must be at least 1, got {self.batch}")


@dataclass(frozen=True, slots=True)
class PredictRunSettings(EvaluateRunSettings):
    """Write a run's probabilities for every patch of a store, labelled or not, with their corners, to Parquet."""

    split: str = setting("all", "rows to predict", choices=("train", "val", "test", "none", "all"))
    out: Path = setting(Path("predictions.parquet"), "table to write")
