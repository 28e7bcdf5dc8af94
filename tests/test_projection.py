"""The projection of `python -m benchmarks project`: numbers of the model, and what the command prints and refuses."""

import json
from dataclasses import replace

import pytest

from benchmarks.__main__ import main
from benchmarks.findings import Skipped
from benchmarks.projection.check import compare_projection
from benchmarks.projection.jobs import Workload, inefficiency, project_chain
from benchmarks.projection.parts import PAPER_RATE, RECORDS, read_parts
from benchmarks.projection.site import read_cluster

SITE = """
[cpu]
cores = 40
[gpu]
cores = 20
gpus = 4
[jobs]
extract = { ranks_per_node = 36 }
statistics = { ranks_per_node = 8 }
evaluate = { ranks_per_node = 4 }
[hardware]
gpu_node_memory_gib = 256
node_read_gb_s = 5
node_write_gb_s = 2.5
total_read_gb_s = 100
total_write_gb_s = 50
node_link_gb_s = 10
source = "made up"
"""


@pytest.fixture
def site(tmp_path):
    """A site file."""
    path = tmp_path / "made-up.toml"
    path.write_text(SITE)
    return path


def chain(site, work=None, size=(2, 8), rate=PAPER_RATE):
    return {job.name: job for job in project_chain(read_cluster(site), read_parts(), work or Workload(), size, rate)}


def test_extraction_takes_the_measured_core_seconds_divided_by_the_cores(site):
    parts, job = read_parts(), chain(site)["extraction"]
    core_s = 125 * parts.decode_s.value + 519_339 * parts.patch_s.value
    assert (job.nodes, job.workers) == (2, 72)
    assert job.limits["decoding"] == pytest.approx(core_s / 72 * inefficiency(parts, 72 / 125))
    assert job.written_bytes == 519_339 * parts.row_bytes
    assert job.limits["file system"] == pytest.approx(job.read_bytes / 10e9 + job.written_bytes / 5e9)
    assert job.seconds == pytest.approx(job.start_s + max(job.limits.values()))
    assert job.node_hours == pytest.approx(2 * job.seconds / 3600)


def test_more_ranks_than_cores_do_not_make_an_extraction_faster(site):
    before = chain(site)["extraction"].limits["decoding"]
    site.write_text(SITE.replace("ranks_per_node = 36", "ranks_per_node = 80"))
    crowded = chain(site)["extraction"].limits["decoding"]
    assert before * 36 / 40 * 0.99 < crowded < before * 1.2


def test_training_takes_the_time_of_the_gpus_and_of_the_gradients_after_each_step(site):
    job = chain(site, Workload(epochs=10))["training"]
    rows = 269_695 + 123_723 / 3
    reduced_s = 10 * -(-269_695 // (64 * 8)) * 2 * 0.5 * 4 * 23_600_000 / 10e9
    assert (job.nodes, job.workers) == (2, 8)
    assert job.limits["GPUs"] == pytest.approx(10 * rows / 8 / 194 + reduced_s)


def test_one_epoch_of_the_paper_on_one_node_is_near_what_it_published(site):
    start = chain(site, Workload(epochs=1), (1, 4))["training"]
    more = chain(site, Workload(epochs=2), (1, 4))["training"]
    assert more.seconds - start.seconds == pytest.approx(347 * (1 + 123_723 / 3 / 269_695), rel=0.03)


def test_rows_that_fit_into_memory_are_read_once_a_node_and_others_in_each_epoch(site):
    fits, bytes_ = chain(site, Workload(epochs=50)), read_parts().loaded_bytes
    rows = 269_695 + 123_723
    assert bytes_ == 345_600
    assert fits["training"].read_bytes == 2 * rows * bytes_
    site.write_text(SITE.replace("gpu_node_memory_gib = 256", "gpu_node_memory_gib = 64"))
    assert chain(site, Workload(epochs=50))["training"].read_bytes == 50 * rows * bytes_


@pytest.mark.parametrize(
    ("change", "job", "limit"),
    [
        (("node_write_gb_s = 2.5", "node_write_gb_s = 0.1"), "extraction", "file system"),
        (("node_link_gb_s = 10", "node_link_gb_s = 0.01"), "training", "all-reduce"),
        (("cores = 20", "cores = 20"), "evaluation", "GPUs"),
        (("node_read_gb_s = 5", "node_read_gb_s = 0.01"), "statistics", "file system"),
    ],
)
def test_what_limits_a_job_is_named(site, change, job, limit):
    site.write_text(SITE.replace(*change))
    assert chain(site)[job].limit == limit


def test_with_fast_gpus_the_start_is_what_an_evaluation_takes(site):
    assert chain(site, rate=replace(PAPER_RATE, value=20_000.0))["evaluation"].limit == "start-up"


def test_a_hundred_times_the_archive_takes_a_hundred_times_the_work(site):
    once, more = chain(site)["extraction"], chain(site, Workload(times=100))["extraction"]
    assert more.written_bytes == 100 * once.written_bytes
    # fewer ranks for each product lose less
    assert more.limits["decoding"] == pytest.approx(100 * once.limits["decoding"], rel=0.02)
    assert more.start_s > once.start_s


def test_the_inefficiency_grows_with_ranks_and_keeps_to_what_was_measured(site):
    parts = read_parts()
    values = [inefficiency(parts, ranks / 124) for ranks in (1, 72, 100, 256, 1024, 16384, 10**6)]
    assert values == sorted(values)
    assert values[-1] == values[-2]  # beyond the last replay nothing is known


def test_the_command_prints_each_job_its_parts_and_what_was_not_measured(site, capsys):
    assert main(["project", "--site", str(site), "--nodes", "10", "--gpus", "96"]) == 0
    text = capsys.readouterr().out
    for word in ("catalogue", "extraction", "statistics", "training", "evaluation"):
        assert f"\n{word} " in text
    assert "made-up, 1 x BigEarthNet: 125 products, 519,339 patches" in text
    assert "no job ran on this cluster" in text
    assert "(extract, 2026-" in text
    assert "published: Sedona et al. 2019, ResNet-50 on a V100" in text
    assert main(["project", "--site", str(site), "--gpu-rate", "1500", "--times", "10"]) == 0
    text = capsys.readouterr().out
    assert "10 x BigEarthNet: 1,250 products" in text
    assert "1500  patches/s of one GPU (given: --gpu-rate)" in text


def test_the_projection_is_near_what_was_measured_here_and_by_the_paper(site, capsys):
    ratios = {item.name: item.ratio for item in compare_projection(read_parts())}
    assert ratios.keys() >= {"extract_1_ranks", "extract_2_ranks", "epoch_2_workers", "paper_epoch_24_nodes"}
    assert all(0.85 < ratio < 1.15 for ratio in ratios.values()), ratios
    assert main(["project", "--site", str(site)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "projected" in line]
    assert len(lines) == len(ratios)
    assert all("measured" in line for line in lines)


@pytest.mark.parametrize("name", ["generic", "jsc", "nersc"])
def test_each_site_of_deploy_can_be_projected(name, capsys):
    assert main(["project", "--site", name, "--nodes", "2", "--gpus", "96"]) == 0
    assert f"{name}, 1 x BigEarthNet" in capsys.readouterr().out


def test_dsen2_is_named_as_what_limits(site):
    dsen2 = chain(site, Workload(dsen2=True))["extraction"]
    assert dsen2.limit == "DSen2 on CPUs"
    assert dsen2.seconds > 20 * chain(site)["extraction"].seconds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[hardware]", "[other]"), "must have the table or key hardware"),
        (("node_link_gb_s = 10", ""), "must have the table or key hardware.node_link_gb_s"),
        (("node_link_gb_s = 10", "node_link_gb_s = 0"), "node_link_gb_s must be above 0, got 0"),
        (("node_link_gb_s = 10", "link = 10"), r"must have only the keys .*, got link"),
        (("source =", "gpu_patches_per_second = 3\nsource ="), "gpu_source must say where"),
        (("cores = 40", ""), "must have the table or key cores"),
        (("[cpu]", "[cpu"), "made-up.toml: "),
    ],
)
def test_a_site_that_lacks_something_is_refused_with_its_name(site, change, message):
    site.write_text(SITE.replace(*change))
    with pytest.raises(ValueError, match=message):
        read_cluster(site)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--nodes", "0"], "--nodes must be at least 1, got 0"),
        (["--gpus", "-1"], "--gpus must be at least 1, got -1"),
        (["--gpu-rate", "nan"], "--gpu-rate must be above 0, got nan"),
        (["--times", "0"], "--times must be at least 1, got 0"),
        (["--site", "nowhere"], "nowhere.toml"),
    ],
)
def test_bad_flags_end_with_status_2(site, capsys, flags, message):
    with pytest.raises(SystemExit) as stop:
        main(["project", "--site", str(site), *flags])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_record_that_is_not_there_is_named(tmp_path):
    for path in RECORDS.glob("*.laptop.json"):
        if path.name != "balance.laptop.json":
            (tmp_path / path.name).write_text(path.read_text())
    with pytest.raises(Skipped, match=r"balance.laptop.json must be there; python -m benchmarks balance"):
        read_parts(tmp_path)


def test_parts_name_the_record_they_come_from(tmp_path):
    for path in RECORDS.glob("*.laptop.json"):
        (tmp_path / path.name).write_text(path.read_text())
    record = json.loads((tmp_path / "extract.laptop.json").read_text())
    record["figures"]["decode_cpu_seconds_median_1_ranks"] = 10.0
    (tmp_path / "extract.laptop.json").write_text(json.dumps(record | {"started": "2030-01-02T00:00:00+00:00"}))
    changed = read_parts(tmp_path)
    assert changed.decode_s.value == 10.0
    assert changed.decode_s.source.startswith("extract, 2030-01-02, 2 cores of ")
    assert replace(changed, decode_s=read_parts().decode_s).decode_s.value > 70
