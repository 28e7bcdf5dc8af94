"""The nomenclatures, their conversion, and multi-hot labels."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.catalogue.validation import multi_hot
from etl.labels import CLASSES_19, CLASSES_43, TO_19, classes_of, convert_to_19

label_sets = st.sets(st.sampled_from(CLASSES_43))


def column(labels):
    """A column of one patch with these labels."""
    return pa.chunked_array([pa.array([list(labels)], pa.list_(pa.string()))])


def binarise(labels):
    return multi_hot(column(labels), CLASSES_43)[0][0]


def test_there_are_43_and_19_different_classes():
    assert (len(set(CLASSES_43)), len(set(CLASSES_19))) == (43, 19)


def test_every_class_converts_to_at_most_one_and_every_one_of_the_19_is_reached():
    fine, coarse = zip(*TO_19, strict=True)
    assert len(set(fine)) == len(fine) == 32
    assert set(coarse) == set(range(19))


def test_classes_with_the_same_name_in_both_nomenclatures_convert_into_each_other():
    pairs = {CLASSES_43[fine]: CLASSES_19[coarse] for fine, coarse in TO_19}
    assert all(pairs[name] == name for name in set(CLASSES_43) & set(CLASSES_19))


def test_a_patch_whose_classes_are_all_dropped_ends_with_no_label():
    dropped = [name for k, name in enumerate(CLASSES_43) if k not in dict(TO_19)]
    assert len(dropped) == 11
    assert not convert_to_19(binarise(dropped)[None]).any()


@given(label_sets)
def test_binarised_labels_name_exactly_the_labels(labels):
    row = binarise(labels)
    assert {CLASSES_43[k] for k in np.flatnonzero(row)} == labels
    assert (row.dtype, row.shape) == (np.uint8, (43,))


@given(label_sets, label_sets)
def test_conversion_of_a_union_is_the_union_of_the_conversions(one, other):
    both = convert_to_19(binarise(one | other))
    assert (both == np.maximum(convert_to_19(binarise(one)), convert_to_19(binarise(other)))).all()


@pytest.mark.parametrize("label", ["", "pastures", "Arable land"])
def test_a_label_of_another_nomenclature_is_refused_by_name(label):
    classes, unknown = multi_hot(column([label]), CLASSES_43)
    assert not classes.any()
    assert f"43 classes, got '{label}'" in unknown[0]


@pytest.mark.parametrize("number", [0, 42, -1])
def test_there_is_no_nomenclature_of_another_size(number):
    with pytest.raises(ValueError, match="43 or 19"):
        classes_of(number)


def test_the_43_classes_stand_in_published_order(shared_data):
    published = json.loads((shared_data / "lists" / "label_indices.json").read_text())["original_labels"]
    assert sorted(published, key=published.__getitem__) == list(CLASSES_43)


def test_the_seven_real_patches_have_the_19_labels_that_version_2_gives_them(shared_data):
    table = pq.read_table(shared_data / "lists" / "metadata_v2.parquet", columns=["s2v1_name", "labels"])
    described = sorted((shared_data / "patches_v1").glob("*/*.json"))
    assert len(described) == 7
    for path in described:
        version_2 = table.filter(pq.filters_to_expression([("s2v1_name", "=", path.parent.name)]))["labels"][0].as_py()
        converted = convert_to_19(binarise(json.loads(path.read_text())["labels"]))
        assert {CLASSES_19[k] for k in np.flatnonzero(converted)} == set(version_2)
