"""Products are looked for, chosen and fetched, over each protocol; what is there is not fetched again."""

import json
import os
from dataclasses import replace

import pytest
from data_space.stac_app import stac_server
from download_products import NAME, catalogue_of, product

from etl.download.run import download
from etl.download.settings import DownloadSettings
from etl.exit_status import ExitStatus
from etl.settings import load_settings

OLDER = NAME.replace("N0500", "N0205")
OTHER = "S2B_MSIL2A_20170802T092029_N0500_R093_T33UUP_20230802T092030"


@pytest.mark.parametrize("search", ["odata", "stac"])
@pytest.mark.parametrize("transfer", ["s3", "http"])
def test_the_products_of_a_catalogue_are_fetched_once(space, tmp_path, same_files, search, transfer, capsys):
    offered = [product(tmp_path / "served", name) for name in (NAME, OTHER)]
    space.serve(*offered)
    listed = catalogue_of(tmp_path / "patches.parquet", [NAME, OTHER])
    out = tmp_path / "tiles"
    with stac_server(offered, space.web.download_url) as stac_url:
        settings = space.settings(catalogue=listed, out=out, search=search, transfer=transfer, stac_url=stac_url)
        assert download(settings) == ExitStatus.DONE
        for one in offered:
            same_files(out, one)
        assert len(space.fetched()) == 2 * (13 + 2 + 1)
        assert "2 products fetched (0.5 MiB), 0 there already, 0 not available" in capsys.readouterr().out
        assert download(settings) == ExitStatus.DONE
        assert space.fetched() == []
    record = json.loads((out / "download.json").read_text())
    assert record["counts"] == {"present": 2}
    assert {one["product"] for one in record["products"]} == {NAME, OTHER}


@pytest.mark.parametrize("transfer", ["s3", "http"])
def test_all_files_are_added_to_those_that_are_there(space, tmp_path, same_files, transfer):
    offered = product(tmp_path / "served")
    space.serve(offered)
    settings = space.settings(
        catalogue=catalogue_of(tmp_path / "patches.parquet", [NAME]), out=tmp_path / "tiles", transfer=transfer
    )
    download(settings)
    space.fetched()
    assert download(replace(settings, files="all")) == ExitStatus.DONE
    same_files(tmp_path / "tiles", offered, True)
    assert len(space.fetched()) == 3


@pytest.mark.parametrize("search", ["odata", "stac"])
def test_an_area_is_searched_by_time_and_clouds(space, tmp_path, search):
    clear, cloudy = product(tmp_path / "served"), product(tmp_path / "served", OTHER, cloud_cover=60.0)
    space.serve(clear, cloudy)
    with stac_server([clear, cloudy], space.web.download_url) as stac_url:
        settings = space.settings(
            area="12.5,48,13,48.5", time="2017-06-01/2017-08-31", out=tmp_path, search=search, stac_url=stac_url
        )
        for changes, wanted in (
            ({"max_cloud": 20.0}, {clear.folder}),
            ({}, {clear.folder, cloudy.folder}),
        ):
            assert download(replace(settings, **changes)) == ExitStatus.DONE
            assert {path.name for path in tmp_path.glob("*.SAFE")} == wanted
        for changes in ({"area": "0,40,1,41"}, {"time": "2017-06-14/2017-06-15"}):
            with pytest.raises(ValueError, match="the catalogue has no Level-2A product there"):
                download(replace(settings, **changes))


def test_more_acquisitions_than_one_request_asks_for_are_found(space, tmp_path):
    names = [NAME.replace("0613T", f"06{day:02d}T") for day in range(1, 29)]
    space.serve(*(product(tmp_path / "served", name, image_bytes=100) for name in names))
    settings = space.settings(catalogue=catalogue_of(tmp_path / "patches.parquet", names), out=tmp_path / "tiles")
    assert download(settings) == ExitStatus.DONE
    assert len(list((tmp_path / "tiles").glob("*.SAFE"))) == 28


def test_the_newest_product_that_is_online_is_taken_with_the_other_parts_of_its_tile(space, tmp_path, caplog):
    older, part = product(tmp_path / "served", OLDER), product(tmp_path / "served", f"{NAME[:-1]}9")
    newest = replace(product(tmp_path / "served", NAME.replace("N0500", "N0510")), online=False)
    space.serve(older, product(tmp_path / "served"), part, newest)
    # as in BigEarthNet, the listed time is off by seconds
    listed = catalogue_of(tmp_path / "patches.parquet", [OLDER.replace("T101031", "T101028")])
    assert download(space.settings(catalogue=listed, out=tmp_path / "tiles")) == ExitStatus.DONE
    assert {path.name for path in (tmp_path / "tiles").glob("*.SAFE")} == {f"{NAME}.SAFE", part.folder}
    assert f"{newest.name} is offline; an older one is taken" in caplog.text


def test_an_offline_part_of_the_newest_baseline_is_reported(space, tmp_path):
    part = replace(product(tmp_path / "served", f"{NAME[:-1]}5"), online=False)
    space.serve(product(tmp_path / "served"), part)
    listed = catalogue_of(tmp_path / "patches.parquet", [NAME])
    assert download(space.settings(catalogue=listed, out=tmp_path / "tiles", strict=True)) == ExitStatus.REJECTED
    record = json.loads((tmp_path / "tiles" / "download.json").read_text())
    assert {one["product"]: one["state"] for one in record["products"]} == {NAME: "fetched", part.name: "offline"}


def test_what_is_not_available_is_reported(space, tmp_path, caplog, capsys):
    missing = NAME.replace("20170613T101031", "20170713T101031")
    offline = replace(product(tmp_path / "served"), online=False)
    deleted = replace(product(tmp_path / "served", OTHER), deleted="Duplicated product")
    space.serve(offline, deleted)
    listed = catalogue_of(tmp_path / "patches.parquet", [NAME, OTHER, missing])
    settings = space.settings(catalogue=listed, out=tmp_path / "tiles")
    assert download(settings) == ExitStatus.DONE
    assert download(replace(settings, strict=True)) == ExitStatus.REJECTED
    states = {
        one["state"]: one["reason"]
        for one in json.loads((tmp_path / "tiles" / "download.json").read_text())["products"]
    }
    assert states.keys() == {"offline", "deleted", "not offered"}
    assert states["deleted"] == "Duplicated product"
    assert "S2A 2017-06-13T10:10:31 T33UUP: offline" in caplog.text
    assert "0 products fetched (0.0 MiB), 0 there already, 3 not available" in capsys.readouterr().out


def test_a_dry_run_tells_bytes_and_hours_and_writes_nothing(space, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("CDSE_PASSWORD")
    space.serve(product(tmp_path / "served", image_bytes=1 << 20))
    listed = catalogue_of(tmp_path / "patches.parquet", [NAME])
    settings = space.settings(catalogue=listed, out=tmp_path / "tiles", transfer="http", dry_run=True, rate_mib=0.001)
    assert download(settings) == ExitStatus.DONE
    assert "1 product to fetch, about 0.01 GiB; 2.5 hours at 0.001 MiB/s; 0 there already" in capsys.readouterr().out
    assert not (tmp_path / "tiles").exists()
    assert space.fetched() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "one of --catalogue, --area and --archive"),
        ({"area": "1,2,3,4"}, "--area and --time must be given together"),
        ({"area": "1,2,3", "time": "2017-06-01/2017-06-02"}, "WEST,SOUTH,EAST,NORTH"),
        ({"area": "3,2,1,4", "time": "2017-06-01/2017-06-02"}, "west < east"),
        ({"area": "1,2,3,4", "time": "2017-06-01"}, "--time must be two days"),
        ({"area": "1,2,3,4", "time": "2017-02-30/2017-03-01"}, "--time must be two days"),
        ({"area": "1,2,3,4", "time": "2017-06-02/2017-06-01"}, "must begin before it ends"),
        ({"area": "1,2,3,4", "time": "2017-06-02/9999-12-31"}, "before the year 9999"),
        ({"area": "1,2,3,4", "time": "2017-06-01/2017-06-02", "connections": 0}, "--connections"),
        ({"area": "1,2,3,4", "time": "2017-06-01/2017-06-02", "odata_url": "https://a:b@c.org"}, "--odata-url must be"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(space, changes, message):
    with pytest.raises(ValueError, match=message):
        space.settings(**changes)


def test_an_account_comes_from_netrc(space, tmp_path, monkeypatch):
    monkeypatch.delenv("CDSE_USERNAME")
    space.serve(product(tmp_path / "served"))
    listed = catalogue_of(tmp_path / "patches.parquet", [NAME])
    settings = space.settings(catalogue=listed, out=tmp_path / "tiles", transfer="http")
    with pytest.raises(ValueError, match=r"set CDSE_USERNAME and CDSE_PASSWORD, or name 127\.0\.0\.1 in"):
        download(settings)
    file = tmp_path / "no-netrc"
    file.write_text(f'machine 127.0.0.1 login {space.web.tokens.username} password "{space.web.tokens.password}"\n')
    file.chmod(0o644)
    with pytest.raises(ValueError, match=r"only its owner may read \(chmod 600\)"):
        download(settings)
    file.chmod(0o600)
    assert download(settings) == ExitStatus.DONE


def test_a_bucket_needs_keys(space, tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    listed = catalogue_of(tmp_path / "patches.parquet", [NAME])
    with pytest.raises(ValueError, match="--transfer s3 needs keys"):
        download(space.settings(catalogue=listed, out=tmp_path / "tiles"))


def test_a_bucket_without_another_address_is_that_of_the_service(space, tmp_path, monkeypatch, same_files):
    offered = product(tmp_path / "served")
    space.serve(offered)
    address = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    listed = catalogue_of(tmp_path / "patches.parquet", [NAME])
    assert download(space.settings(catalogue=listed, out=tmp_path / "tiles", s3_url=address)) == ExitStatus.DONE
    same_files(tmp_path / "tiles", offered)


def test_an_area_in_the_west_can_be_given_like_any_other():
    flags = ["--area", "-9.5,38,-9,39", "--time", "2017-06-01/2017-06-02"]
    assert load_settings(DownloadSettings, "etl.download", flags).bounds == (-9.5, 38, -9, 39)
