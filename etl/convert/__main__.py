"""`python -m etl.convert STORE --out OTHER`: one store from another."""

from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.mpi import launch
from etl.settings import load_settings

if __name__ == "__main__":
    launch(lambda: load_settings(ConvertSettings, "etl.convert", positional="store"), convert)
