"""Settings of the trainer's commands; field names are flags, keys of `pipeline.toml` and keys of run.json."""

from dataclasses import dataclass
from pathlib import Path

from etl.bands import BAND_BY_NAME, GROUPS, PATCH_M
from etl.pixel_groups import IMAGES, SENTINEL1
from etl.settings import require_at_least, require_within, setting
from etl.store.location import DEFAULT_STORE, Location

__all__ = [
    "BEST_BY", "DECAYS", "LOSSES", "NETWORKS", "OPTIMISERS", "RASTER_SUFFIXES", "BandSelection", "EvaluateRunSettings",
    "ExportSettings", "MapRunSettings", "PredictRunSettings", "RunSettings", "band_selections",
]  # fmt: skip

_MOST_BATCH = 65_536
"""Patches of a batch, which a worker holds in memory: 65,536 of BigEarthNet's with twelve bands are 23 GB."""

RASTER_SUFFIXES = (".tif", ".tiff")
"""Suffixes of a map that is an image."""

_STRIDES_M = (PATCH_M, 600, 300)

_OUT_TEXT = (
    "what to write: .gpkg (GeoPackage), .parquet (GeoParquet), .tif (GeoTIFF, one image a tile) or .png (a picture)"
)
_STRIDE_TEXT = "with --out NAME.tif: side of its cells; 600 and 300 add windows that lie across neighbouring patches"

_SPLIT_CHOICES = ("train", "val", "test", "none", "all")

DECAYS = ("steps", "polynomial", "cosine", "none")
"""How the learning rate decreases after the warm-up; the help of `--decay` explains each."""

NETWORKS = ("resnet50", "resnet101", "convnext_tiny", "small")
"""Networks that can be trained, see `model.architectures`."""

OPTIMISERS = ("sgd", "adamw", "lamb")
"""Optimisers of Keras; SGD with Nesterov momentum is the paper's."""

LOSSES = ("cross-entropy", "focal", "asymmetric")
"""Losses, see `fit.loss`."""

BEST_BY = ("micro-f1", "macro-f1", "micro-ap", "macro-ap", "loss")
"""Scores on the split val by which the best network of a run is chosen."""


@dataclass(frozen=True, slots=True)
class BandSelection:
    """Bands of the pixel array `array` of a store, in the order in which the network gets them; empty for all."""

    array: str
    bands: tuple[str, ...] = ()


RGB_BANDS = ("B04", "B03", "B02")
"""Red, green, blue."""

_NAMED_SELECTIONS = {
    "rgb": (BandSelection("data_10m", RGB_BANDS),),
    "all": (BandSelection("data_super"),),
    "native": tuple(BandSelection(f"data_{group.name}") for group in GROUPS),
    "s1": (BandSelection(SENTINEL1),),
}


_WITH_SENTINEL1 = "+s1"


def band_selections(bands: str) -> tuple[BandSelection, ...]:
    """The bands that a value of `--bands` stands for, by pixel array.

    Bands that Sentinel-2 does not have can only be those of image files. `+s1` at the end adds both of Sentinel-1.
    """
    if bands.endswith(_WITH_SENTINEL1):
        return (*band_selections(bands.removesuffix(_WITH_SENTINEL1)), BandSelection(SENTINEL1))
    if bands in _NAMED_SELECTIONS:
        return _NAMED_SELECTIONS[bands]
    names = tuple(bands.split(","))
    if not set(names) <= BAND_BY_NAME.keys():
        return (BandSelection(IMAGES, names),)
    at_10m = all(name in GROUPS[0].bands for name in names)
    return (BandSelection("data_10m" if at_10m else "data_super", names),)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Train a network on the training patches of a store, on one worker, or under mpirun with one worker per rank."""

    store: Location = setting(DEFAULT_STORE, "store to train on, made by etl.extract")
    out: Path = setting(Path("runs/latest"), "folder of the run, for its record, checkpoints and logs")
    bands: str = setting(
        "all",
        "input bands: rgb, all (twelve at 10 m, or those of image files), native (own resolutions) or a list: B02,B8A; "
        "+s1 at the end, as in all+s1, adds Sentinel-1; s1 is Sentinel-1 alone",
    )
    classes: int = setting(0, "19 = convert the labels of a store of 43 classes to 19; 0 = the classes of the store")
    batch: int = setting(64, "batch size of each worker", "patches")
    epochs: int = setting(100, "epochs to train, unless --steps is given", "epochs")
    steps: int = setting(0, "steps to train; 0 = train for --epochs", "steps")
    rate: float = setting(0.1, "learning rate for 256 patches per step; it is multiplied by (patches per step of all "
                          "workers) / 256")  # fmt: skip
    momentum: float = setting(0.9, "Nesterov momentum of sgd (the paper gives no value)")
    warmup: float = setting(
        5.0, "linear warm-up: begins at the rate of one worker, with cosine at --rate-floor", "epochs"
    )
    decay: str = setting("steps", "learning rate after the warm-up: steps divides it by 10 after 30, 60 and 80 epochs, "
                         "polynomial lets it fall to 0, cosine to --rate-floor, none keeps it",
                         choices=DECAYS)  # fmt: skip
    lars: float = setting(0.0, "trust coefficient of LARS, for over 8,192 patches per step; often 0.001, 0 = off")
    l2: float = setting(1e-4, "L2 penalty on the weights of all convolutions (the paper gives no value)")
    dropout: float = setting(0.5, "fraction of features that dropout removes before the last layer")
    mixup: float = setting(0.2, "alpha of mixup's beta distribution (the paper gives no value); 0 = off")
    turn: bool = setting(True, "augmentation: rotate each patch by a random multiple of 90 degrees; flip at random")
    norm_momentum: float = setting(0.9, "momentum of batch normalisation's moving averages (the paper gives no value)")
    sync_norm: bool = setting(False, "batch normalisation over the batches of all workers together")
    rare_weight: float = setting(0.0, "exponent of the negative/positive ratio used as class weight; 0 = unweighted")
    oversample: float = setting(0.0, "repeat rows with classes that fewer than this fraction of rows have; 0 = off")
    weights: Path | None = setting(
        None, "Keras's file of ImageNet weights of --network, no top layer; --bands rgb only"
    )
    precision: str = setting("float32", "number type of the layers' arithmetic", choices=("float32", "bfloat16"))
    compress: bool = setting(False, "send gradients as float16: half the traffic, but the weights differ slightly")
    shuffle_block: int = setting(1, "shuffle blocks of this many neighbouring rows; faster on slow disks", "rows")
    validate_every: int = setting(1, "interval between validations on the split val; 0 = never", "epochs")
    patience: int = setting(
        0, "stop after this many validations without a better score on val, see --best-by; 0 = never"
    )
    checkpoint_steps: int = setting(0, "interval between checkpoints within an epoch; 0 = only at its end", "steps")
    stall: int = setting(600, "with several workers: end with status 75 if training makes no progress for this time; "
                         "0 = never", "seconds")  # fmt: skip
    resume: bool = setting(False, "continue from the checkpoint in --out; if there is none, start a new run")
    deterministic: bool = setting(False, "give the same weights, bit for bit, in every run with the same number of "
                                  "workers and threads on the same machine; slower")  # fmt: skip
    seed: int = setting(0, "seed of the initial weights, the order of rows, augmentation and dropout")
    threads: int = setting(0, "threads per TensorFlow operation; 0 = the cores of the node divided by its workers")
    dry_run: bool = setting(False, "print the plan, but write nothing")
    network: str = setting("resnet50", "network; the paper's is resnet50; small suits small data sets and CPUs",
                           choices=NETWORKS)  # fmt: skip
    optimiser: str = setting(
        "sgd", "optimiser; adamw and lamb need a smaller --rate, such as 0.0005", choices=OPTIMISERS
    )
    weight_decay: float = setting(0.01, "with adamw and lamb: decay of kernels, instead of --l2")
    rate_floor: float = setting(0.0, "with --decay cosine: fraction of the rate at which warm-up begins and decay ends")
    ema: float = setting(0.0, "momentum of the moving average of the weights, which is then validated and kept as the "
                         "best network; often 0.999, 0 = off")  # fmt: skip
    accumulate: int = setting(
        1, "compute each batch in this many parts and add their gradients, to save memory", "parts"
    )
    clip: float = setting(0.0, "limit of the norm of all gradients together; 0 = none")
    loss: str = setting("cross-entropy", "loss; focal and asymmetric are for several labels a patch", choices=LOSSES)
    gamma: float = setting(2.0, "exponent of the focal loss; the asymmetric loss has its own")
    label_smoothing: float = setting(
        0.0, "blend labels with 0.5, or with one label a patch 1/classes, by this fraction; 0 = not"
    )
    best_by: str = setting("micro-f1", "score on val that chooses the best network; f1: at threshold 0.5, ap: average "
                           "precision", choices=BEST_BY)  # fmt: skip
    xla: bool = setting(False, "compile forward and backward pass with XLA; the first step takes longer")
    start_from: Path | None = setting(None, "folder of a run whose best network gives the initial weights; bands and "
                                      "classes may be other ones")  # fmt: skip
    freeze: int = setting(0, "stages of the network, from the input on, whose weights stay as they are", "stages")
    stage_decay: float = setting(1.0, "learning rate of each stage divided by that of the next one; 1 = the same rate")
    profile: int = setting(0, "steps of worker 0 to record for TensorBoard's profiler, from the third on", "steps")
    callback: str = setting("", "your own class module:Class, whose methods worker 0 calls, see trainer.fit.observer")

    def __post_init__(self) -> None:
        require_at_least(self, shuffle_block=1, epochs=1, steps=0, warmup=0, lars=0, l2=0)
        require_within(self, batch=(1, _MOST_BATCH), threads=(0, 1024), seed=(0, 2**32 - 1))  # NumPy's most
        require_at_least(self, stall=0, mixup=0, rare_weight=0, oversample=0, validate_every=0, patience=0)
        require_at_least(self, checkpoint_steps=0, weight_decay=0, clip=0, gamma=0, freeze=0, profile=0)
        require_within(self, accumulate=(1, self.batch), rate_floor=(0, 1), ema=(0, 1), label_smoothing=(0, 1))
        if not self.rate > 0:
            raise ValueError(f"--rate must be above 0, got {self.rate}")
        if not 0 < self.stage_decay <= 1:
            raise ValueError(f"--stage-decay must be above 0 and at most 1, got {self.stage_decay}")
        if self.lars and self.optimiser != "sgd":
            raise ValueError(f"--lars needs --optimiser sgd, got {self.optimiser}; use --optimiser lamb for AdamW")
        if self.sync_norm and self.accumulate > 1:
            raise ValueError("--sync-norm needs whole batches, so --accumulate must be 1; use a smaller --batch")
        if self.sync_norm and self.xla:
            raise ValueError("--xla cannot compile what workers exchange for --sync-norm; leave one out")
        if self.freeze and self.start_from is None and self.weights is None:
            raise ValueError("--freeze keeps weights of --start-from or --weights, so it needs one of them")
        if self.weights is not None and not self.network.startswith("resnet"):
            raise ValueError(f"--weights are of a ResNet, so --network must be one, got {self.network}")
        if 0 < self.gamma < 1:
            raise ValueError(f"--gamma must be 0 or at least 1, got {self.gamma}")
        if self.callback and self.callback.count(":") != 1:
            raise ValueError(f"--callback must be module:Class, got {self.callback!r}")
        for name in ("momentum", "dropout", "norm_momentum", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must lie in [0, 1), got {getattr(self, name)}")
        if f"+{self.bands}".count(_WITH_SENTINEL1) > 1 or self.bands == _WITH_SENTINEL1:
            raise ValueError(f"--bands may have +s1 once, at the end of other bands, as in all+s1, got {self.bands}")
        if self.classes not in (0, 19, 43):
            raise ValueError(f"--classes must be 0, 19 or 43, got {self.classes}")
        if self.weights is not None and self.bands != "rgb":
            raise ValueError(f"--weights are ImageNet's, which need --bands rgb, got {self.bands}")
        if self.weights is not None and self.start_from is not None:
            raise ValueError("--weights and --start-from both give the initial weights; leave one out")
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"--out must be a folder, {self.out} is a file")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Steps of the whole run, if an epoch has `steps_per_epoch`."""
        return self.steps or self.epochs * steps_per_epoch


@dataclass(frozen=True, slots=True)
class EvaluateRunSettings:
    """Score the network of a finished run on one split of a store, on one worker or under mpirun."""

    run: Path = setting(Path("runs/latest"), "folder of the run, made by trainer.run")
    store: Location | None = setting(None, "store to read the patches from; if not given, the one of the run")
    split: str = setting("test", "split to score; none = patches without a split", choices=_SPLIT_CHOICES)
    batch: int = setting(64, "batch size of each worker", "patches")
    threads: int = setting(0, "threads per TensorFlow operation; 0 = the cores of the node divided by its workers")

    def __post_init__(self) -> None:
        require_within(self, batch=(1, _MOST_BATCH), threads=(0, 1024))


@dataclass(frozen=True, slots=True)
class PredictRunSettings(EvaluateRunSettings):
    """Write the probability of each class, and labels, for each patch of a store, labelled or not.

    --out MAP.gpkg writes the squares of the patches as GeoPackage, MAP.parquet as GeoParquet, and MAP.tif one GeoTIFF
    for each tile, MAP.<tile>.tif, with a band for each class.
    """

    split: str = setting("all", "split to predict; none = patches without a split", choices=_SPLIT_CHOICES)
    out: Path = setting(Path("predictions.parquet"), _OUT_TEXT)
    stride: int = setting(PATCH_M, _STRIDE_TEXT, "m")

    def __post_init__(self) -> None:
        EvaluateRunSettings.__post_init__(self)
        _require_map(self.out, self.stride)


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Export the best network of a run for use without this package: pixels as stored in, probabilities out."""

    run: Path = setting(Path("runs/latest"), "folder of the run, made by trainer.run")
    out: Path = setting(Path("model.keras"), "what to write: a file .keras or .onnx, or, without a suffix, the folder "
                        "of a TensorFlow SavedModel; its description goes beside it, as OUT.json")  # fmt: skip

    def __post_init__(self) -> None:
        if self.out.suffix.lower() not in ("", ".keras", ".onnx"):
            raise ValueError(
                f"--out must end in .keras or .onnx, or have no suffix for the folder of a SavedModel, got {self.out}"
            )


@dataclass(frozen=True, slots=True)
class MapRunSettings:
    """Predict the classes of Sentinel-2 products as a map, in one step: no store and no labels are needed.

    Makes a catalogue and a store of all patches of the products in a temporary folder beside --out, predicts them, and
    removes the folder. Under mpirun, all workers predict; worker 0 extracts.
    """

    product: Location = setting(
        Location.parse("data/tiles"), "Level-2A product (.SAFE, .zarr or .zip), a folder of them, or s3://BUCKET/PREFIX"
    )
    run: Path = setting(Path("runs/latest"), "folder of the run, made by trainer.run")
    out: Path = setting(Path("map.gpkg"), _OUT_TEXT)
    stride: int = setting(PATCH_M, _STRIDE_TEXT, "m")
    batch: int = setting(64, "batch size of each worker", "patches")
    threads: int = setting(0, "threads per TensorFlow operation; 0 = the cores of the node divided by its workers")
    weights: Path = setting(
        Path("data/weights/l2a"),
        "for a run on bands that DSen2 upsampled: folder of its weights",
    )
    allow_links: tuple[Path, ...] = setting(
        (), "folder into which links in the product may lead, beside itself; can be given several times"
    )

    def __post_init__(self) -> None:
        require_within(self, batch=(1, _MOST_BATCH), threads=(0, 1024))
        _require_map(self.out, self.stride)


def _require_map(out: Path, stride_m: int) -> None:
    """Check what predictions are written to.

    Raises:
        ValueError: the suffix of `out` is not that of a map, or there is no such stride, or not for it.
    """
    suffix = out.suffix.lower()
    if suffix not in (".gpkg", ".parquet", ".png", *RASTER_SUFFIXES):
        raise ValueError(f"--out must end in .gpkg, .parquet, .tif or .png, got {out}")
    if stride_m not in _STRIDES_M:
        raise ValueError(f"--stride must be one of {', '.join(map(str, _STRIDES_M))} m, got {stride_m}")
    if stride_m < PATCH_M and suffix not in RASTER_SUFFIXES:
        raise ValueError(f"--stride {stride_m} needs an image, --out NAME.tif, got {out}")
