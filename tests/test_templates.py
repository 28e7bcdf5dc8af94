"""HTML pages from templates: what comes from files is text and never markup, and templates are installed."""

import configparser
from fnmatch import fnmatch
from pathlib import Path

import jinja2
import pytest
from mpi4py import MPI
from stores import GOOD, make_store

from etl.stats.run import stats
from etl.stats.settings import StatsSettings
from etl.store.location import Location
from etl.templates import png_data_uri, render_page

ROOT = Path(__file__).parents[1]
HOSTILE = "<script>alert('&')</script>"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with one template in it."""
    (tmp_path / "with_page").mkdir()
    (tmp_path / "with_page" / "__init__.py").touch()
    (tmp_path / "with_page" / "page.html.j2").write_text('<p title="{{ name }}">{{ name }}</p>\n')
    monkeypatch.syspath_prepend(tmp_path)
    return "with_page"


def test_a_hostile_value_is_escaped_in_text_and_in_an_attribute(package):
    safe = "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"
    assert render_page(package, "page.html.j2", name=HOSTILE) == f'<p title="{safe}">{safe}</p>\n'


def test_a_value_that_the_template_lacks_is_an_error_and_not_an_empty_place(package):
    with pytest.raises(jinja2.UndefinedError, match="'name' is undefined"):
        render_page(package, "page.html.j2")


def test_a_picture_stands_in_the_page_itself():
    assert png_data_uri(b"\x89PNG") == "data:image/png;base64,iVBORw=="


@pytest.mark.slow
def test_a_store_of_a_hostile_name_adds_no_markup_to_its_statistics(tmp_path):
    store = make_store(tmp_path, GOOD).rename(tmp_path / "<script>store.h5")
    assert stats(StatsSettings(Location.parse(store), tmp_path / "page.html"), MPI.COMM_SELF) == 0
    text = (tmp_path / "page.html").read_text()
    assert "<script>" not in text
    assert "<h1>Statistics of &lt;script&gt;store.h5</h1>" in text


def test_every_template_is_declared_as_data_of_its_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = config["options.package_data"]["*"].replace(",", " ").split()
    templates = [path for room in ("etl", "trainer") for path in (ROOT / room).rglob("*.j2")]
    assert len(templates) >= 2
    for path in templates:
        assert (path.parent / "__init__.py").is_file()
        assert any(fnmatch(path.name, pattern) for pattern in patterns), path
