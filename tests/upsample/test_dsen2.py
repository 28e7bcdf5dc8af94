"""DSen2: the networks are what the paper says, their files are read as data, gaps are filled without spreading."""

import dataclasses
import subprocess
import sys
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest
from networks import assert_same_counts, assert_same_image, publish, small_folder, small_network
from scipy.signal import correlate

from etl.bands import GROUPS
from etl.grid import PixelWindow
from etl.source.patch import mirror_border
from etl.upsample import dsen2
from etl.upsample.bilinear import interpolate_bilinear, upsample_bilinear
from etl.upsample.dsen2 import DSen2, Network, sharpen_image
from etl.upsample.gaps import fill_gaps
from etl.upsample.method import UpsampleMethod
from etl.upsample.network import ConvWeights, WeightsError, WindowGeometry
from etl.upsample.weights import read_networks, read_weights, write_weights

SCALES = pytest.mark.parametrize("gsd_m", [20, 60])


def by_definition(weights, images):
    """The network in float64, each convolution summed from plane correlations; shape (row, col, band)."""

    def convolved(x, layer):
        kernel, bias = (array.astype(np.float64) for array in layer)
        planes = [
            sum(correlate(x[..., i], kernel[..., i, o], "valid", "direct") for i in range(x.shape[-1])) + bias[o]
            for o in range(kernel.shape[-1])
        ]
        return np.stack(planes, axis=-1)

    first, *blocks, last = weights.layers
    x = np.maximum(convolved(np.concatenate(images, axis=-1) / 2000, first), 0)
    for one, two in zip(blocks[::2], blocks[1::2], strict=True):
        x = x[2:-2, 2:-2] + weights.scale * convolved(np.maximum(convolved(x, one), 0), two)
    reach = len(weights.layers)
    return 2000 * convolved(x, last) + images[-1][reach:-reach, reach:-reach]


def images_of(weights, side, seed=0):
    """The groups that a network sees, already at 10 m, with its reach around `side` px."""
    rng, whole = np.random.default_rng(seed), side + 2 * weights.receptive_field_radius_px
    groups = [group for group in GROUPS if group.gsd_m <= weights.gsd_m]
    return [rng.uniform(0, 10_000, (whole, whole, len(group.bands))).astype(np.float32) for group in groups]


@SCALES
@pytest.mark.parametrize("blocks", [1, 3])
def test_a_network_computes_what_the_paper_says(gsd_m, blocks):
    weights = small_network(gsd_m, blocks, filters=5)
    images = images_of(weights, side=7)
    got = Network(weights, "float32")(images)
    wanted = by_definition(weights, images)
    assert got.shape == wanted.shape == (7, 7, {20: 6, 60: 2}[gsd_m])
    radius = weights.receptive_field_radius_px
    assert np.abs(wanted - images[-1][radius:-radius, radius:-radius]).max() > 100
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=0.02)


@SCALES
def test_a_network_of_lower_precision_differs_by_little(gsd_m):
    weights = small_network(gsd_m, blocks=2, filters=8)
    images = images_of(weights, side=20)
    exact, lower = (Network(weights, precision)(images) for precision in ("float32", "bfloat16"))
    assert lower.dtype == np.float32
    assert 0 < np.abs(lower - exact).max() < 20


@SCALES
def test_a_pixel_outside_the_receptive_field_changes_nothing(gsd_m):
    weights = small_network(gsd_m, blocks=2)
    assert weights.receptive_field_radius_px == 6
    images = images_of(weights, side=5)
    before = Network(weights, "float32")(images)
    for image in images:
        image[0] += 1000
    after = Network(weights, "float32")(images)
    assert np.array_equal(before[1:], after[1:])
    assert not np.array_equal(before[0], after[0])


@pytest.mark.parametrize(("blocks", "reach", "context"), [(6, 14, (28, 16, 8)), (32, 66, (132, 68, 24))])
def test_context_covers_reach_interpolation_and_gap_filling_in_whole_pixels(blocks, reach, context):
    networks = [small_network(gsd_m, blocks, filters=1) for gsd_m in (20, 60)]
    geometry = WindowGeometry.of(networks)
    assert geometry.receptive_field_radius_px == reach
    assert geometry.halo_px == context
    assert UpsampleMethod("dsen2", tuple(networks)).halo_px == context


def test_full_networks_need_about_what_the_paper_says_of_a_whole_tile():
    tile, patches = 10_980, 91.5**2
    pixels = [2 * tile**2 * sum(k.size for k, _ in small_network(g, 6, 128).layers) for g in (20, 60)]
    assert 840e12 < sum(pixels) < 880e12
    windows = sum(small_network(gsd_m, 6, 128).flop(120) for gsd_m in (20, 60)) * patches
    assert 1.2 < windows / sum(pixels) < 1.25  # what a patch's own window costs more


# --- one patch --------------------------------------------------------------------------------------------------------


def windows_of(context_px, seed=0, cells=1):
    """Windows of `cells` x `cells` patches with context, valid everywhere."""
    rng = np.random.default_rng(seed)
    sides = [cells * group.patch_px + 2 * context for group, context in zip(GROUPS, context_px, strict=True)]
    return tuple(rng.integers(1, 12_000, (s, s, len(g.bands)), np.uint16) for s, g in zip(sides, GROUPS, strict=True))


@pytest.fixture(scope="module")
def way():
    """Two small networks of different reach."""
    return DSen2((small_network(20, blocks=2), small_network(60, blocks=1)))


def filled(way, native, cells=1):
    """`data_super` of windows; like them of shape (row, col, band)."""
    out = np.zeros((12, 120 * cells, 120 * cells), np.uint16)
    way(tuple(window.transpose(2, 0, 1) for window in native), out)
    return out.transpose(1, 2, 0)


def test_a_patch_is_interpolated_sharpened_rounded_and_clipped(way):
    native = windows_of(way.halo_px)
    out = filled(way, native)
    contexts = way.halo_px
    assert np.array_equal(
        out[..., list(GROUPS[0].super_index)], native[0][contexts[0] : -contexts[0], contexts[0] : -contexts[0]]
    )
    for weights, group in ((small_network(20, blocks=2), GROUPS[1]), (small_network(60, blocks=1), GROUPS[2])):
        images = []
        for g, window, context in zip(GROUPS, native, contexts, strict=True):
            if g.gsd_m > group.gsd_m:
                continue
            fine = window if g.factor == 1 else upsample_exactly(window, g.factor)
            extra = (context - (g.factor > 1)) * g.factor - weights.receptive_field_radius_px
            images.append(fine[extra : fine.shape[0] - extra, extra : fine.shape[0] - extra])
        wanted = by_definition(weights, images)
        got = out[..., list(group.super_index)].astype(np.float64)
        assert np.abs(got - np.clip(wanted, 1, 65534)).max() < 0.52
        assert (got == 1).any()


def upsample_exactly(window, factor):
    """Bilinear interpolation in float64, by an independent route."""
    side = (window.shape[0] - 2) * factor
    at = (np.arange(side) + 0.5) / factor + 0.5
    first = at.astype(int)
    weight = (at - first)[:, None, None]
    down = window[first] * (1 - weight) + window[first + 1] * weight
    weight = weight[:, 0][None]
    return down[:, first] * (1 - weight) + down[:, first + 1] * weight


@pytest.mark.parametrize("factor", [2, 6])
def test_what_a_network_is_given_is_what_bilinear_upsampling_rounds(factor):
    window = np.random.default_rng(0).integers(1, 65535, (9, 9, 3), np.uint16)
    exact = interpolate_bilinear(window.astype(np.float32), factor)
    np.testing.assert_allclose(exact, upsample_exactly(window.astype(float), factor), rtol=1e-6)
    assert np.abs(exact - upsample_bilinear(window.transpose(2, 0, 1), factor).transpose(1, 2, 0)).max() <= 0.51


def test_patches_are_cut_from_the_whole_without_seams_with_gaps_in_any_band(way):
    native = windows_of(way.halo_px, cells=2)
    rng = np.random.default_rng(1)
    for window in native:
        side = window.shape[0]
        window[side // 2 - 3 : side // 2 + 20, 5 : side // 2] = 0
        window[rng.integers(0, side, side), rng.integers(0, side, side), rng.integers(0, window.shape[2], side)] = 0
        window[: side // 3, -4:, 0] = 65535
    whole = filled(way, native, cells=2)
    for j, i in product(range(2), repeat=2):
        cut = []
        for group, window, context in zip(GROUPS, native, way.halo_px, strict=True):
            row, column, side = j * group.patch_px, i * group.patch_px, group.patch_px + 2 * context
            cut.append(window[row : row + side, column : column + side])
        assert_same_counts(filled(way, tuple(cut)), whole[120 * j : 120 * j + 120, 120 * i : 120 * i + 120])


def whole_image(gsd_m):
    """Groups of an image that is wider than one window, without any structure."""
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 9000, (300 // g.factor, 282 // g.factor, len(g.bands)), np.uint16)
        for g in GROUPS
        if g.gsd_m <= gsd_m
    ]


@SCALES
def test_a_whole_image_is_sharpened_window_by_window_without_seams(gsd_m, monkeypatch):
    network = Network(small_network(gsd_m, blocks=2), "float32")
    windows = sharpen_image(network, whole_image(gsd_m))
    monkeypatch.setattr(dsen2, "_WINDOW_PX", 600)
    assert windows.shape == (300, 282, {20: 6, 60: 2}[gsd_m])
    assert_same_image(windows, sharpen_image(network, whole_image(gsd_m)))


class ShortOfOnePixel:
    """A network whose windows lack the outermost pixel of their halo: it is the next one, repeated."""

    def __init__(self, network):
        self.network, self.weights = network, network.weights

    def __call__(self, images):
        return self.network([np.pad(image[1:-1, 1:-1], ((1, 1), (1, 1), (0, 0)), "edge") for image in images])


@SCALES
def test_a_halo_one_pixel_too_small_is_a_seam_that_the_tolerances_do_not_hide(gsd_m, monkeypatch):
    network = ShortOfOnePixel(Network(small_network(gsd_m, blocks=2), "float32"))
    windows = sharpen_image(network, whole_image(gsd_m))
    monkeypatch.setattr(dsen2, "_WINDOW_PX", 600)
    whole = sharpen_image(network, whole_image(gsd_m))
    with pytest.raises(AssertionError):
        assert_same_image(windows, whole)
    with pytest.raises(AssertionError):
        assert_same_counts(*(np.clip(np.rint(image), 1, 65534).astype(np.uint16) for image in (windows, whole)))
    inside = np.s_[8:200, 8:200]
    assert_same_image(windows[inside], whole[inside])  # it is a seam, not an image that differs everywhere


@SCALES
def test_windows_sharpened_at_once_give_the_same_bits_as_one_after_the_other(gsd_m, monkeypatch):
    monkeypatch.setattr(dsen2, "_WINDOW_PX", 60)
    network = Network(small_network(gsd_m, blocks=2), "float32")
    one = sharpen_image(network, whole_image(gsd_m))
    assert np.array_equal(sharpen_image(network, whole_image(gsd_m), at_once=4), one)


def test_nodata_stays_where_it_is_and_does_not_spread(way):
    clean = tuple(np.full_like(window, 3000) for window in windows_of(way.halo_px))
    holed = tuple(window.copy() for window in clean)
    for group, window, context in zip(GROUPS, holed, way.halo_px, strict=True):
        px = group.patch_px // 4
        window[context : context + px, context : context + px] = 0
        window[context + 2 * px : context + 2 * px + 12 // group.factor, context : context + 12 // group.factor, 0] = (
            65535
        )
    before, after = filled(way, clean), filled(way, holed)
    assert np.all(after[:30, :30] == 0)
    for group in GROUPS:
        assert np.all(after[60:72, :12, group.super_index[0]] == 65535)
    untouched = (after != 0) & (after != 65535)
    assert untouched.sum() == after.size - 12 * 30 * 30 - 3 * 12 * 12
    # where all around is alike, so is what the gaps are filled with: valid pixels come out as if there were none
    assert np.array_equal(after[untouched], before[untouched])


def test_a_patch_without_any_data_stays_without(way):
    empty = tuple(np.zeros_like(window) for window in windows_of(way.halo_px))
    assert not filled(way, empty).any()


# --- gaps and borders -------------------------------------------------------------------------------------------------


def test_gaps_are_filled_from_around_as_far_as_asked():
    window = np.full((9, 9, 2), 500, np.uint16)
    window[2:7, 2:7, 0] = 0
    assert np.all(fill_gaps(window, 3) == 500)
    two = fill_gaps(window, 2)
    assert two[4, 4, 0] == 0
    assert np.count_nonzero(two == 0) == 1
    assert np.array_equal(fill_gaps(window, 0), window)


def test_a_filled_pixel_depends_on_nothing_farther_than_the_radius():
    rng = np.random.default_rng(0)
    window = rng.integers(0, 4, (40, 40, 3)).astype(np.uint16) * 1000
    whole = fill_gaps(window, 3)
    assert np.array_equal(fill_gaps(window[7:29, 4:31], 3)[3:-3, 3:-3], whole[10:26, 7:28])


@pytest.mark.parametrize("context", [1, 5, 9, 30])
def test_beyond_a_border_the_inside_is_mirrored_as_often_as_needed(context):
    inside = np.random.default_rng(0).integers(1, 99, (2, 6, 9)).astype(np.uint16)
    out = np.zeros((2, 6 + 2 * context, 9 + 2 * context), np.uint16)
    out[:, context:-context, context:-context] = inside
    mirror_border(out, PixelWindow(context, context, 6, 9))
    assert np.array_equal(out, np.pad(inside, ((0, 0), (context, context), (context, context)), "symmetric"))


# --- files ------------------------------------------------------------------------------------------------------------


def same_network(one, other):
    arrays = zip((a for pair in one.layers for a in pair), (a for pair in other.layers for a in pair), strict=True)
    return one.scale == other.scale and all(np.array_equal(a, b) for a, b in arrays)


@SCALES
@pytest.mark.parametrize("whole", [True, False])
def test_files_of_old_keras_are_read_in_the_order_of_their_layers(tmp_path, gsd_m, whole):
    network = small_network(gsd_m, blocks=6, scale=0.2 if whole else 0.1)
    got = read_weights(publish(tmp_path / "L1C_x.hdf5", network, whole))
    assert same_network(got, network)
    assert (got.gsd_m, got.blocks, got.filters, got.level) == (gsd_m, 6, 4, "L1C")
    assert read_weights(publish(tmp_path / "x.hdf5", network, whole)).level == ""


@SCALES
def test_our_own_format_holds_the_same_network_and_the_same_bytes_for_it(tmp_path, gsd_m):
    network = small_network(gsd_m, blocks=3, scale=0.15)
    for name in ("a.h5", "b.h5"):
        write_weights(tmp_path / name, network)
    got = read_weights(tmp_path / "a.h5")
    assert same_network(got, network)
    assert got.level == network.level
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert got.sha256 != read_weights(publish(tmp_path / "c.h5", network)).sha256


def broken(network, number, kernel=None, bias=None):
    layers = list(network.layers)
    old = layers[number]
    layers[number] = ConvWeights(old[0] if kernel is None else kernel, old[1] if bias is None else bias)
    return dataclasses.replace(network, layers=tuple(layers))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: broken(n, 0, np.zeros((3, 3, 11, 4), np.float32)), r"conv2d must .* 10, filters.*got .* 11, 4\)"),
        (lambda n: broken(n, 1, np.zeros((5, 5, 4, 4), np.float32)), r"kernel of conv2d_1 must .*3, 4, 4\).*got \(5,"),
        (lambda n: broken(n, 2, bias=np.zeros(3, np.float32)), r"bias of conv2d_2 must .*\(4,\).*got \(3,\)"),
        (lambda n: broken(n, 3, np.zeros((3, 3, 4, 7), np.float32)), r"conv2d_3 must .*3, 4, 6\).*got .* 4, 7\)"),
        (lambda n: broken(n, 2, np.zeros((3, 3, 4, 4))), r"conv2d_2 must .*float32, got .*float64"),
        (lambda n: broken(n, 2, np.full((3, 3, 4, 4), np.nan, np.float32)), r"conv2d_2 must be finite"),
        (lambda n: dataclasses.replace(n, layers=n.layers[:3], names=n.names[:3]), r"at least one block, got 3"),
        (lambda n: dataclasses.replace(n, level="L3"), r"level must be L1C, L2A or empty"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_with_what_differs(change, message):
    with pytest.raises(WeightsError, match=message):
        change(small_network(20))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be an HDF5 file"),
        (b"not HDF5", "must be an HDF5 file"),
        (lambda path: h5py.File(path, "w").close(), "layer_names"),
    ],
)
def test_what_is_no_weights_file_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "x.hdf5"
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    with pytest.raises(WeightsError, match=message) as raised:
        read_weights(path)
    assert "x.hdf5" in str(raised.value)


def test_a_published_file_cut_short_is_refused(tmp_path):
    path = publish(tmp_path / "x.hdf5", small_network(20))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(WeightsError, match=r"x\.hdf5"):
        read_weights(path)


def test_the_two_networks_of_a_folder_are_told_apart_and_of_several_the_level_decides(tmp_path):
    small_folder(tmp_path)
    twenty, sixty = read_networks(tmp_path, "L2A")
    assert (twenty.gsd_m, sixty.gsd_m) == (20, 60)
    small_folder(tmp_path, "l1c", seed=1)
    for level in ("L1C", "L2A"):
        assert {weights.level for weights in read_networks(tmp_path, level)} == {level}
    small_folder(tmp_path, "other_l1c", seed=2)
    with pytest.raises(WeightsError, match=r"one 20 m network .* of level L1C, got l1c_dsen2_20m.hdf5, other_l1c_"):
        read_networks(tmp_path, "L1C")
    (tmp_path / "l2a_dsen2_60m.hdf5").unlink()
    for path in tmp_path.glob("*l1c*60m*"):
        path.unlink()
    with pytest.raises(WeightsError, match=r"one 60 m network .*got none"):
        read_networks(tmp_path, "L2A")
    with pytest.raises(WeightsError, match="must be a folder"):
        read_networks(tmp_path / "nowhere", "L2A")


# --- devices ----------------------------------------------------------------------------------------------------------


class Config:
    """What `configure_tensorflow` asks of TensorFlow, on a machine with some GPUs."""

    def __init__(self, gpus):
        self.gpus, self.visible, self.done = gpus, None, {}
        self.threading = self.experimental = self

    def __getattr__(self, name):
        return lambda *given, **named: self.done.update({name: [*given, *named.values()]})

    def list_physical_devices(self, kind):
        return self.gpus

    def set_visible_devices(self, device, kind):
        self.visible = device

    def get_device_details(self, device):
        return {"device_name": f"model of {device}"}


@pytest.mark.parametrize(("rank", "mine"), [(0, "a"), (1, "b"), (2, "a")])
def test_each_rank_takes_one_gpu_of_its_node_and_computes_in_full_precision(monkeypatch, rank, mine):
    config = Config(["a", "b"])
    monkeypatch.setattr(dsen2.tf, "config", config)
    assert dsen2.configure_tensorflow(3, rank) == dsen2.Device(f"GPU {rank % 2} of 2: model of {mine}", 1)
    assert config.visible == mine
    assert config.done["set_memory_growth"] == [mine, True]
    assert config.done["enable_tensor_float_32_execution"] == [False]
    assert config.done["set_intra_op_parallelism_threads"] == [1]
    assert "enable_op_determinism" in config.done


def test_a_rank_without_a_gpu_computes_windows_at_once_with_one_thread_each(monkeypatch):
    config = Config([])
    monkeypatch.setattr(dsen2.tf, "config", config)
    assert dsen2.configure_tensorflow(2, 0) == dsen2.Device("CPU, windows at once: 2", 2)
    assert config.done["set_intra_op_parallelism_threads"] == [1]
    assert config.done["set_inter_op_parallelism_threads"] == [2]


def test_extraction_that_does_not_ask_for_dsen2_imports_no_tensorflow():
    code = (
        "import sys, etl.extract.run, etl.superres.run; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
