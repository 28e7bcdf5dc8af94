"""Settings of `trainer.run`."""

from dataclasses import dataclass
from pathlib import Path

from etl.settings import setting

__all__ = ["BANDS", "RunSettings"]

BANDS = {"rgb": ("data_10m", ("B04", "B03", "B02")), "all": ("data_super", ())}
"""What `--bands` means: the data set that is read, and which of its bands the network sees, in order; () is all."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Train ResNet-50 on a store's training patches: one worker alone, or one worker a rank under mpirun."""

    store: Path = setting(Path("data/store.h5"), "store to train on, as made by etl.extract")
    bands: str = setting("all", "bands that the network sees: rgb, or all twelve at 10 m", choices=tuple(BANDS))
    batch: int = setting(64, "rows that each worker takes in one step", "patches")
    steps: int = setting(0, "steps to train; 0 for whole epochs", "steps")
    epochs: int = setting(100, "epochs to train where --steps is 0", "epochs")
    rate: float = setting(0.1, "learning rate for 256 patches a step over all workers; it grows with their number")
    momentum: float = setting(0.9, "Nesterov momentum (our choice: the paper does not state it)")
    seed: int = setting(0, "decides the first weights and the order of rows")
    threads: int = setting(0, "threads of one operation; 0 for the cores of this node shared among its workers")
    out: Path = setting(Path("runs/latest"), "folder of the run's record")
    dry_run: bool = setting(False, "print the plan and write nothing")

    def __post_init__(self) -> None:
        for name, least in {"batch": 1, "steps": 0, "epochs": 1, "seed": 0, "threads": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"--{name} must be at least {least}, got {getattr(self, name)}")
        if not self.rate > 0:
            raise ValueError(f"--rate must be above 0, got {self.rate}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"--momentum must lie in [0, 1), got {self.momentum}")
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"--out must be a folder, {self.out} is a file")
