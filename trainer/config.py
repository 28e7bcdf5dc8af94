"""Settings of the trainer's commands."""

from dataclasses import dataclass
from pathlib import Path

from etl.bands import BAND_BY_NAME, GROUPS
from etl.settings import setting

__all__ = ["EvaluateSettings", "PredictSettings", "RunSettings", "pixel_sets"]

_NAMED = {
    "rgb": (("data_10m", ("B04", "B03", "B02")),),
    "all": (("data_super", ()),),
    "native": tuple((f"data_{group.name}", ()) for group in GROUPS),
}


def pixel_sets(bands: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What `--bands` means: the data sets that are read, each with the bands of it that the network sees; () is all.

    Raises:
        ValueError: a name is neither one of rgb, all, native nor a band.
    """
    if bands in _NAMED:
        return _NAMED[bands]
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
    classes: int = setting(0, "19 to convert 43 classes on reading; 0 for those of the store")
    batch: int = setting(64, "rows that each worker takes in one step", "patches")
    epochs: int = setting(100, "epochs to train where --steps is 0", "epochs")
    steps: int = setting(0, "steps to train; 0 for whole epochs", "steps")
    rate: float = setting(0.1, "learning rate for 256 patches a step over all workers; it grows with their number")
    momentum: float = setting(0.9, "Nesterov momentum (our choice: the paper does not state it)")
    warmup: float = setting(5.0, "in which the rate climbs from one worker's to that of all", "epochs")
    decay: str = setting("steps", "rate after the warm-up: a tenth after 30, 60, 80 epochs, or to 0 at the end as "
                         "a polynomial", choices=("steps", "polynomial", "none"))  # fmt: skip
    lars: float = setting(0.0, "trust of layer-wise rates (LARS), for batches above 8,192; 0 for none, 0.001 is usual")
    l2: float = setting(1e-4, "factor of the squares of all convolutions' weights (our choice)")
    dropout: float = setting(0.5, "share of features dropped before the last layer")
    mixup: float = setting(0.2, "alpha of mixup's beta distribution (our choice); 0 for none")
    turn: bool = setting(True, "turn and mirror each patch at random")
    norm_momentum: float = setting(0.9, "of batch normalisation's moving statistics (our choice)")
    sync_norm: bool = setting(False, "normalise over the batches of all workers together")
    rare_weight: float = setting(0.0, "power of (rows without / rows with a class) by which its labels weigh; 0 for 1")
    oversample: float = setting(0.0, "share of rows below which a class's rows are drawn more often; 0 for none")
    weights: Path | None = setting(None, "ImageNet weights of keras.applications.ResNet50 without top, for --bands rgb")
    precision: str = setting("float32", "of the layers' arithmetic", choices=("float32", "bfloat16"))
    compress: bool = setting(False, "send gradients between workers as fp16")
    shuffle_block: int = setting(
        1, "neighbouring rows that stay together in the shuffled order, for slow disks", "rows"
    )
    validate_every: int = setting(1, "how often the split val is scored; 0 for never", "epochs")
    patience: int = setting(0, "stop when micro-F1 on val has not risen for so many validations; 0 for never")
    checkpoint_steps: int = setting(0, "save within an epoch every so many steps; each epoch's end is saved", "steps")
    stall: int = setting(600, "workers that wait so long for another end, with status 75; 0 for never", "seconds")
    resume: bool = setting(False, "go on from the checkpoint in --out; begins anew where there is none")
    deterministic: bool = setting(False, "the same weights in every run on the same machine; slower")
    seed: int = setting(0, "decides first weights, order of rows, augmentation, dropout")
    threads: int = setting(0, "threads of one operation; 0 for the cores of this node shared among its workers")
    dry_run: bool = setting(False, "print the plan and write nothing")

    def __post_init__(self) -> None:
        pixel_sets(self.bands)
        least = {
            "batch": 1,
            "shuffle_block": 1,
            "steps": 0,
            "epochs": 1,
            "seed": 0,
            "threads": 0,
            "warmup": 0,
            "lars": 0,
            "l2": 0,
            "stall": 0,
        }
        least |= {"mixup": 0, "rare_weight": 0, "oversample": 0, "validate_every": 0, "patience": 0}
        for name, value in {**least, "checkpoint_steps": 0}.items():
            if getattr(self, name) < value:
                raise ValueError(f"{_flag(name)} must be at least {value}, got {getattr(self, name)}")
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


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """Score a finished run on one split of a store, on any number of workers."""

    run: Path = setting(Path("runs/latest"), "folder of the run, as made by trainer.run")
    store: Path = setting(Path("data/store.h5"), "store to score it on")
    split: str = setting("test", "rows to score", choices=("train", "val", "test", "none", "all"))
    batch: int = setting(64, "rows that each worker takes in one step", "patches")
    threads: int = setting(0, "threads of one operation; 0 for the cores of this node shared among its workers")

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"--batch must be at least 1, got {self.batch}")


@dataclass(frozen=True, slots=True)
class PredictSettings(EvaluateSettings):
    """Write a run's probabilities for every patch of a store, labelled or not, with their corners, to Parquet."""

    split: str = setting("all", "rows to predict", choices=("train", "val", "test", "none", "all"))
    out: Path = setting(Path("predictions.parquet"), "table to write")
