"""The recipes, as committed, against what their authors say."""

import tomllib
from pathlib import Path

import pytest

from etl import settings
from trainer.config import RunSettings
from trainer.data.sampler import DistributedSampler
from trainer.fit.optimisation import LearningRateSchedule, rate_at

RECIPE = Path(__file__).resolve().parents[1] / "deploy" / "settings" / "sedona2019.toml"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The settings as trainer.run loads them."""
    (tmp_path / "pipeline.toml").write_bytes(RECIPE.read_bytes())
    monkeypatch.chdir(tmp_path)
    return settings.load_settings(RunSettings, "trainer.run", [])


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("bands", "all"), ("batch", 64), ("rate", 0.1), ("warmup", 5.0), ("decay", "steps"), ("epochs", 100),
        ("steps", 0), ("dropout", 0.5), ("turn", True), ("lars", 0.0), ("rare_weight", 0.0), ("oversample", 0.0),
        ("precision", "float32"), ("compress", False), ("classes", 0),
    ],
)  # fmt: skip
def test_each_value_that_the_paper_states_stands_in_the_recipe(recipe, name, stated):
    assert getattr(recipe, name) == stated


@pytest.mark.parametrize("name", ["l2", "mixup", "momentum", "norm_momentum"])
def test_what_the_paper_names_without_a_value_is_on_and_marked_as_chosen_here(recipe, name):
    assert getattr(recipe, name) > 0
    chosen = RECIPE.read_text().split("# The paper gives no values for these; they are chosen here.")[1]
    assert set(tomllib.loads(chosen)) == {"l2", "mixup", "momentum", "norm_momentum"}


def test_the_rate_over_the_epochs_is_that_of_the_paper(recipe):
    # 4 workers: 0.1 k n / 256 = 0.1, reached after 5 epochs from one worker's
    schedule = LearningRateSchedule(recipe.rate, recipe.batch, 4, recipe.warmup, recipe.decay, recipe.epochs)
    found = [rate_at(schedule, epoch) for epoch in (0, 2.5, 5, 29.9, 30, 60, 80, 99)]
    assert found == pytest.approx([0.025, 0.0625, 0.1, 0.1, 0.01, 1e-3, 1e-4, 1e-4])


def test_an_epoch_of_the_paper_has_its_number_of_steps(recipe):
    assert DistributedSampler(269_695, recipe.batch, 4).steps_per_epoch == 1054


def test_the_recipe_of_reben_loads_and_has_the_rate_of_its_authors(tmp_path, monkeypatch):
    (tmp_path / "pipeline.toml").write_bytes(RECIPE.with_name("reben.toml").read_bytes())
    monkeypatch.chdir(tmp_path)
    recipe = settings.load_settings(RunSettings, "trainer.run", [])
    assert (recipe.optimiser, recipe.weight_decay, recipe.best_by, recipe.patience) == ("adamw", 0.01, "macro-ap", 5)
    schedule = LearningRateSchedule(
        recipe.rate, recipe.batch, 4, recipe.warmup, recipe.decay, recipe.epochs, recipe.rate_floor
    )
    found = [rate_at(schedule, epoch) for epoch in (0, recipe.warmup, (100 + recipe.warmup) / 2, 100)]
    assert found == pytest.approx([1e-4, 1e-3, 5.5e-4, 1e-4])
