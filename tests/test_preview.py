"""Preview: what is chosen, what colour it gets, what became of each cell, and that a picture of it is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpi4py import MPI
from PIL import Image
from stores import GOOD, TILE, erase_some, make_catalogue, make_store

from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.exit_status import JobError
from etl.labels import CLASSES_19, CLASSES_43
from etl.preview.cells import CELL_STATUS, CellWindow, cell_status_of, merge_cell_status, tile_cells
from etl.preview.class_names import caption_lines, short_name
from etl.preview.colours import NODATA_COLOUR, STATUS_COLOURS, fit_stretch
from etl.preview.contact_sheet import choose_spread, read_contact_sheet
from etl.preview.drawing import percent
from etl.preview.run import preview
from etl.preview.settings import PreviewSettings
from etl.store.location import Location

pytestmark = pytest.mark.slow


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Draws a store's contact sheet; the PNG."""

    def run(store: Path, **settings: Any) -> Path:
        out = tmp_path / "pictures" / "p.png"
        assert preview(PreviewSettings(Location.parse(store), out, **settings), MPI.COMM_SELF) == 0
        return out

    return run


@given(st.integers(0, 500), st.integers(1, 60), st.integers(0, 2**32))
def test_patches_are_chosen_one_from_each_run_of_equal_length(rows, number, seed):
    chosen = choose_spread(np.arange(1000, 1000 + rows), number, seed) - 1000
    assert len(chosen) == min(rows, number)
    if rows > number:
        runs = chosen * number / rows
        assert ((np.arange(number) - 1 < runs) & (runs < np.arange(1, number + 1))).all()
    assert np.array_equal(chosen + 1000, choose_spread(np.arange(1000, 1000 + rows), number, seed))


@given(st.lists(st.sampled_from(CLASSES_43), unique=True, max_size=12), st.integers(25, 60), st.integers(1, 3))
def test_a_caption_keeps_to_its_lines_and_counts_the_labels_it_leaves_out(names, width, lines):
    out = caption_lines(names, width, lines)
    assert len(out) <= lines
    assert all(len(line) <= width for line in out)
    said = " · ".join(out).split(" · ")
    left_out = int(said[-1][1:]) if said[-1].startswith("+") else 0
    assert not names or len(said) - bool(left_out) + left_out == len(names)


@pytest.mark.parametrize("names", [CLASSES_43, CLASSES_19])
def test_short_names_are_short_and_tell_all_classes_apart(names):
    assert len({short_name(name) for name in names}) == len(names)
    assert max(len(short_name(name)) for name in names) <= 25


def test_every_status_has_a_colour_of_its_own():
    assert len({STATUS_COLOURS[name] for name in CELL_STATUS}) == len(CELL_STATUS)


@given(st.integers(0, 90), st.integers(0, 90))
def test_a_patch_lies_in_its_cell_and_the_drawn_part_holds_it(row, column):
    cells = tile_cells("33UUP", np.array([TILE.ulx + 1200 * column]), np.array([TILE.uly - 1200 * row]))
    assert cells.tolist() == [[row, column]]
    place = CellWindow.around(cells)
    assert place.shape == (10, 10)
    inside = cells[0] - place.first
    assert ((inside >= 0) & (inside < 10)).all()


@pytest.mark.parametrize(("east_m", "south_m"), [(-1200, 0), (0, 110_400), (600, 0), (np.nan, 0)])
def test_a_patch_off_its_tiles_grid_is_drawn_nowhere(east_m, south_m):
    cells = tile_cells("33UUP", np.array([TILE.ulx + east_m]), np.array([TILE.uly - south_m]))
    assert (cells == -1).all()
    assert not merge_cell_status(CellWindow.around(cells), [(cells, np.array([1], np.uint8))]).any()
    assert (tile_cells("no tile", np.zeros(1), np.zeros(1)) == -1).all()


def test_in_a_cell_of_two_patches_the_extracted_one_is_shown():
    cells = np.array([[3, 4]])
    one, other = (np.array([CELL_STATUS.index(name)], np.uint8) for name in ("snow", "train"))
    for layers in ([(cells, one), (cells, other)], [(cells, other), (cells, one)]):
        fate = merge_cell_status(CellWindow((0, 0), (10, 10)), layers)
        assert CELL_STATUS[fate[3, 4]] == "train"
        assert (fate > 0).sum() == 1


def test_rows_become_what_their_state_and_split_say():
    fates = cell_status_of(np.array([0, 1, 1, 1, 1, 2], np.uint8), np.array([1, 0, 1, 2, 3, 1], np.uint8))
    assert [CELL_STATUS[k] for k in fates] == ["not written", "no split", "train", "val", "test", "rejected"]


def test_brightness_grows_with_reflectance_and_pixels_without_data_are_grey():
    pixels = np.arange(100, 1100, dtype=np.uint16).reshape(10, 100, 1).repeat(3, -1)
    pixels[0, 0], pixels[9, 99] = 0, 65535
    out = fit_stretch(pixels)(pixels)
    assert (np.diff(out.reshape(-1, 3)[1:], axis=0) >= 0).all()
    assert ((out >= 0) & (out <= 1)).all()
    assert len(set(out[0, 0].tolist())) == 1
    assert 0.5 < out[0, 0, 0] < 1
    assert float(fit_stretch(pixels).high[0]) < 1100  # the saturated pixel does not set the range


def test_a_patch_without_any_valid_pixel_has_a_stretch_all_the_same():
    pixels = np.zeros((4, 4, 3), np.uint16)
    assert np.isfinite(fit_stretch(pixels)(pixels)).all()


def test_the_sheet_shows_what_the_store_holds(tmp_path):
    store = make_store(tmp_path, GOOD)
    sheet = read_contact_sheet(PreviewSettings(Location.parse(store)))
    assert [card.row for card in sheet.cards] == [0, 1, 3, 4, 5]
    assert [card.cell for card in sheet.cards] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    assert sheet.cards[1].labels == (CLASSES_43[1], CLASSES_43[4])
    assert [card.split for card in sheet.cards] == ["train", "val", "none", "train", "val"]
    with h5py.File(store) as file:
        assert np.array_equal(sheet.cards[2].pixels, file["data_10m"][3])
        mean = file["data_10m"][4, :10, :10, 2].mean()
    named = {name: count for name, count in sheet.counts.items() if count}
    assert named == {"rejected": 1, "no split": 1, "val": 2, "train": 2}
    assert [[CELL_STATUS[k] for k in row[:3]] for row in sheet.maps[0].status[:2]] == [
        ["train", "val", "rejected"], ["no split", "train", "val"]
    ]  # fmt: skip
    assert sheet.maps[0].true_colour[12, 12, 0] == int(mean)


def test_the_share_of_pixels_without_data_stands_on_cards_and_map(tmp_path, picture):
    store = make_store(tmp_path, GOOD, erase=erase_some)
    sheet = read_contact_sheet(PreviewSettings(Location.parse(store)))
    assert [card.nodata_share for card in sheet.cards] == pytest.approx([0.5, 1, 36 / 14400, 0, 0])
    assert sheet.maps[0].nodata_share[:2, :3].ravel() == pytest.approx([0.5, 1, 0, 36 / 14400, 0, 0])
    assert sheet.with_nodata == 3
    with Image.open(picture(store, width=800)) as image:
        colours = {rgb for _, rgb in image.convert("RGB").getcolors(1 << 24)}
    assert tuple(bytes.fromhex(NODATA_COLOUR.removeprefix("#"))) in colours


def test_a_store_that_knows_no_shares_is_drawn_without_them(tmp_path, picture):
    store = make_store(tmp_path, GOOD, version="1")
    sheet = read_contact_sheet(PreviewSettings(Location.parse(store)))
    assert np.isnan([card.nodata_share for card in sheet.cards]).all()
    assert (sheet.with_nodata, float(sheet.maps[0].nodata_share.max())) == (0, 0)
    assert picture(store).exists()


@pytest.mark.parametrize(
    ("share", "words"), [(1e-4, "< 1 %"), (0.01, "1 %"), (0.5, "50 %"), (0.991, "> 99 %"), (1, "100 %")]
)
def test_a_share_is_not_rounded_to_none_or_all(share, words):
    assert percent(share) == words


def test_patches_that_the_catalogue_leaves_out_are_on_the_map(tmp_path):
    store = make_store(tmp_path, GOOD)
    snow, cloud = np.arange(9) == 6, np.arange(9) == 8
    make_catalogue(tmp_path / "patches.parquet", 9, snow=snow, cloud=cloud)
    sheet = read_contact_sheet(PreviewSettings(Location.parse(store)))
    assert [CELL_STATUS[k] for k in sheet.maps[0].status[2, :3]] == ["snow", "not listed", "cloud or shadow"]
    assert (sheet.counts["snow"], sheet.counts["cloud or shadow"]) == (1, 1)
    (tmp_path / "patches.parquet").unlink()
    sheet = read_contact_sheet(PreviewSettings(Location.parse(store)))
    assert (sheet.excluded, sheet.counts["snow"]) == (False, 0)


@pytest.mark.parametrize(
    ("states", "options"),
    [(GOOD, {}), ([1] * 13, {}), ([1, 0, 2, 0], {"complete": False}), ([2, 2], {}), (GOOD, {"upsampled": False})],
)
def test_every_kind_of_store_gives_a_picture_of_the_width_asked_for(tmp_path, picture, states, options):
    with Image.open(picture(make_store(tmp_path, states, **options), width=800)) as image:
        assert image.format == "PNG"
        assert image.width == 800
        colours = {rgb for _, rgb in image.convert("RGB").getcolors(1 << 24)}
    wanted = STATUS_COLOURS["rejected" if 2 in states else "train"].removeprefix("#")
    assert tuple(bytes.fromhex(wanted)) in colours


@pytest.mark.parametrize(("name", "how"), [("store.zarr", {}), ("store.h5", {"compress": "blosc"})])
def test_a_store_of_another_format_or_layout_gives_the_same_picture(tmp_path, picture, name, how):
    store, made = make_store(tmp_path, GOOD), tmp_path / "other" / name
    assert (
        convert(ConvertSettings(Location.parse(store), Location.parse(made), keep_rejected=True, **how), MPI.COMM_SELF)
        == 0
    )
    first = picture(store, width=700).read_bytes()
    second = picture(made, width=700).read_bytes()
    assert (first == second) == (name == store.name)  # its name stands in the picture
    one, other = (
        read_contact_sheet(PreviewSettings(Location.parse(store))),
        read_contact_sheet(PreviewSettings(Location.parse(made))),
    )
    assert one.counts == other.counts
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one.cards, other.cards, strict=True))
    assert np.array_equal(one.maps[0].true_colour, other.maps[0].true_colour)


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(tmp_path, picture):
    store = make_store(tmp_path, [1] * 9)
    first = picture(store, width=700, patches=3, seed=1).read_bytes()
    assert picture(store, width=700, patches=3, seed=1).read_bytes() == first
    assert picture(store, width=700, patches=3, seed=2).read_bytes() != first


def test_a_tile_that_the_store_does_not_hold_is_bad_input_and_its_tiles_are_named(tmp_path):
    store = make_store(tmp_path, [1, 1])
    with pytest.raises(JobError, match=r"--tile must be one of the store's 1 tiles \(33UUP\), got 31UER") as caught:
        preview(PreviewSettings(Location.parse(store), tmp_path / "p.png", tile="31UER"), MPI.COMM_SELF)
    assert caught.value.status == 2
    assert not (tmp_path / "p.png").exists()


def test_a_catalogue_that_is_not_there_is_bad_input(tmp_path):
    store = make_store(tmp_path, [1])
    with pytest.raises(JobError, match=f"--catalogue .*{tmp_path}/none") as caught:
        preview(PreviewSettings(Location.parse(store), tmp_path / "p.png", tmp_path / "none"), MPI.COMM_SELF)
    assert caught.value.status == 2


@pytest.mark.parametrize("content", [None, b"no store"])
def test_what_is_no_store_is_bad_input_and_named(tmp_path, content):
    store = tmp_path / "store.h5"
    if content:
        store.write_bytes(content)
    with pytest.raises(JobError, match=str(store)) as caught:
        preview(PreviewSettings(Location.parse(store), tmp_path / "p.png"), MPI.COMM_SELF)
    assert caught.value.status == 2


@pytest.mark.parametrize("wrong", [{"out": Path("p.jpg")}, {"patches": 0}, {"width": 10}, {"seed": -1}])
def test_settings_out_of_range_are_named_with_their_value(wrong):
    with pytest.raises(ValueError, match=f"--{next(iter(wrong))} .*{next(iter(wrong.values()))}"):
        PreviewSettings(**wrong)
