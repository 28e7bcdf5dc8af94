"""Settings: a flag beats the file, the file beats the default."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.convert.settings import ConvertSettings
from etl.extract.settings import ExtractSettings
from etl.settings import load_settings, setting
from etl.stats.settings import StatsSettings
from etl.verify.settings import VerifySettings
from trainer.config import EvaluateRunSettings, RunSettings


@dataclass(frozen=True, slots=True)
class Bake:
    """Bake one cake of 100 % sugar."""

    source: Path = setting(Path("data/dough"), "what to bake")
    minutes: int = setting(1, "how long", "min")
    heat: float = setting(180.0, "how hot", "°C")
    form: str = setting("round", "which form", choices=("round", "square"))
    glaze: bool = setting(False, "with glaze")
    rest: int | None = setting(None, "time to rest", "min")

    def __post_init__(self):
        if self.minutes < 0:
            raise ValueError(f"minutes must not be negative, got {self.minutes}")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bake(*argv, file=None):
    if file is not None:
        Path("pipeline.toml").write_text(file)
    return load_settings(Bake, "etl.bake", argv)


def refused(capsys, *argv, file=None):
    with pytest.raises(SystemExit) as stop:
        bake(*argv, file=file)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_without_file_and_flags_the_defaults_hold():
    assert bake() == Bake()


def test_a_file_beats_the_default_and_a_flag_beats_the_file():
    file = '[bake]\nminutes = 5\nheat = 200\nglaze = true\nsource = "x"\n[other]\nminutes = 9\n'
    assert bake(file=file) == Bake(Path("x"), 5, 200.0, glaze=True)
    assert bake("--minutes", "7", "--no-glaze", file=file) == Bake(Path("x"), 7, 200.0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds(
        Bake,
        source=st.sampled_from(["a", "b/c"]).map(Path),
        minutes=st.integers(0, 10**6),
        heat=st.floats(allow_nan=False, allow_infinity=False),
        form=st.sampled_from(["round", "square"]),
        glaze=st.booleans(),
        rest=st.integers(0, 9),
    )
)
def test_flags_and_file_say_the_same(wanted):
    flags = [f"--{name}={getattr(wanted, name)}" for name in ("source", "minutes", "heat", "form", "rest")]
    lines = [f'{name} = "{getattr(wanted, name)}"' for name in ("source", "form")]
    lines += [f"{name} = {getattr(wanted, name)!r}" for name in ("minutes", "heat", "rest")]
    assert bake(*flags, "--glaze" if wanted.glaze else "--no-glaze", file="") == wanted
    assert bake(file="\n".join(["[bake]", *lines, f"glaze = {str(wanted.glaze).lower()}"])) == wanted


def test_a_positional_setting_is_taken_bare_and_may_be_left_out():
    assert load_settings(Bake, "etl.bake", ["x"], positional="source").source == Path("x")
    assert load_settings(Bake, "etl.bake", [], positional="source").source == Path("data/dough")


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("[bake]\nminuts = 5\n", "did you mean minutes?"),
        ("[bake]\nzzz = 5\n", "the known ones are source, minutes"),
        ("[bake]\nminutes = 5.5\n", "[bake] minutes must be a whole number, got 5.5"),
        ("[bake]\nminutes = true\n", "minutes must be a whole number, got True"),
        ('[bake]\nheat = "hot"\n', "heat must be a number, got 'hot'"),
        ("[bake]\nglaze = 1\n", "glaze must be true or false, got 1"),
        ("[bake]\nsource = 1\n", "source must be a path, got 1"),
        ('[bake]\nform = "star"\n', "form must be one of round, square, got 'star'"),
        ("[bake]\nminutes = -1\n", "minutes must not be negative, got -1"),
        ("bake = 3\n", "bake must be a table, [bake], got 3"),
        ("[bake\n", "pipeline.toml must be valid TOML"),
        (f"[bake]\nheat = {'9' * 400}\n", "heat is too large"),
        (f"x = {'[' * 5000}\n", "pipeline.toml must be valid TOML"),
    ],
)
def test_a_bad_file_ends_with_status_2_and_says_why(capsys, file, reason):
    assert reason in refused(capsys, file=file)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--minuts", "5"], "did you mean --minutes?"),
        (["--minuts=5"], "did you mean --minutes?"),
        (["--minutes", "soon"], "invalid int value: 'soon'"),
        (["--form", "star"], "invalid choice: 'star'"),
        (["--minutes", "-1"], "minutes must not be negative, got -1"),
        (["--min", "5"], "unknown argument '--min'"),
    ],
)
def test_a_bad_flag_ends_with_status_2_and_says_why(capsys, argv, reason):
    assert reason in refused(capsys, *argv)


def test_help_names_every_setting_with_unit_and_default(capsys):
    with pytest.raises(SystemExit) as stop:
        bake("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0
    assert "usage: python -m etl.bake" in text
    assert "Bake one cake of 100 % sugar." in text
    for part in (
        "how long (default: 1, min)",
        "how hot (default: 180.0, °C)",
        "with glaze (default: off)",
        "time to rest (default: none)",
        "what to bake (default: data/dough)",
        "[bake] of pipeline.toml",
    ):
        assert part in text


def test_a_misspelt_table_is_refused_with_the_one_meant(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.toml").write_text("[bakerry]\nminutes = 3\n")
    with pytest.raises(SystemExit) as stop:
        load_settings(Bake, "kitchen.bakery", [])
    assert stop.value.code == 2
    assert "no command has a table [bakerry]; did you mean [bakery]?" in capsys.readouterr().err


OUT_OF_RANGE = [
    ("etl.extract", ExtractSettings, "--sync-s", ("nan", "inf", "-1", "1e999"), r"--sync-s must be (at least 0|a fin)"),
    ("etl.extract", ExtractSettings, "--shard-rows", ("4000000000", "-1"), r"--shard-rows must lie in \[0, 65536\]"),
    ("etl.extract", ExtractSettings, "--chunk-rows", ("4000000000", "0"), r"--chunk-rows must lie in \[1, 65536\]"),
    ("etl.extract", ExtractSettings, "--align-mib", ("1000000", "0"), r"--align-mib must lie in \[1, 1024\]"),
    ("etl.extract", ExtractSettings, "--decode-threads", ("100000",), r"--decode-threads must lie in \[1, 1024\]"),
    ("etl.extract", ExtractSettings, "--max-cloud-share", ("nan", "-inf"), r"--max-cloud-share must lie in \[0, 1\]"),
    ("etl.extract", ExtractSettings, "--round-mib", ("9" * 400,), r"--round-mib must be at most 1024"),
    ("etl.convert", ConvertSettings, "--shard-rows", ("4000000000",), r"--shard-rows must lie in \[0, 65536\]"),
    ("etl.stats", StatsSettings, "--workers", ("1000000",), r"--workers must lie in \[0, 1024\]"),
    ("etl.verify", VerifySettings, "--seed", ("9" * 400,), r"--seed must have at most 64 bits"),
    ("trainer.run", RunSettings, "--rate", ("nan", "inf", "-1"), r"--rate must be (above 0|a finite number)"),
    ("trainer.run", RunSettings, "--warmup", ("nan", "-1", "inf"), r"--warmup must be (at least 0|a finite number)"),
    ("trainer.run", RunSettings, "--l2", ("nan",), r"--l2 must be at least 0, got nan"),
    ("trainer.run", RunSettings, "--dropout", ("nan",), r"--dropout must lie in \[0, 1\), got nan"),
    ("trainer.run", RunSettings, "--seed", ("4294967296",), r"--seed must lie in \[0, 4294967295\]"),
    ("trainer.run", RunSettings, "--stall", ("-5",), r"--stall must be at least 0, got -5"),
    ("trainer.run", RunSettings, "--batch", ("4000000000",), r"--batch must lie in \[1, 65536\]"),
    ("trainer.evaluate", EvaluateRunSettings, "--threads", ("-1",), r"--threads must lie in \[0, 1024\], got -1"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "cls", "flag", "values", "wanted"), OUT_OF_RANGE)
def test_numbers_that_a_setting_cannot_have_are_refused_as_flags_and_in_the_file(
    capsys, command, cls, flag, values, wanted
):
    key, table = flag[2:].replace("-", "_"), command.rpartition(".")[2]
    for value in values:
        for argv, text in (([f"{flag}={value}"], ""), ([], f"[{table}]\n{key} = {value.replace('1e999', 'inf')}\n")):
            Path("pipeline.toml").write_text(text)
            with pytest.raises(SystemExit) as stop:
                load_settings(
                    cls, command, argv, positional="store" if command in ("etl.stats", "etl.convert") else None
                )
            assert stop.value.code == 2
            assert re.search(wanted, capsys.readouterr().err.replace("\n", " "))


def test_the_character_nul_is_refused_in_texts_and_paths(capsys):
    assert "--source must not hold the character NUL" in refused(capsys, file='[bake]\nsource = "a\\u0000b"\n')
