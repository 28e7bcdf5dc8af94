"""`python -m etl.preview STORE --out F.png`: one picture of what is in a store."""

from etl.mpi import launch
from etl.preview.run import preview
from etl.preview.settings import PreviewSettings
from etl.settings import load_settings

if __name__ == "__main__":
    launch(lambda: load_settings(PreviewSettings, "etl.preview", positional="store"), preview)
