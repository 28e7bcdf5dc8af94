"""What is said where ranks upsample on unlike devices."""

import pytest

from etl.extract.upsampling import mixed_devices

ONE, OTHER = "AMD EPYC 7B13: avx avx2", "Intel Xeon: avx avx2 avx512f"


@pytest.mark.parametrize(
    ("devices", "processors", "word"),
    [
        (["CPU, windows at once: 1"] * 2, [ONE, ONE], ""),
        (["CPU, windows at once: 1"] * 2, [ONE, OTHER], f"{ONE}; {OTHER}"),
        (["GPU 0 of 2: H200", "GPU 1 of 2: H200"], [ONE, OTHER], ""),
        (["GPU 0 of 1: H200", "CPU, windows at once: 1"], [ONE, ONE], "some have none"),
    ],
)
def test_ranks_that_round_sums_differently_are_a_warning(devices, processors, word):
    warnings = mixed_devices(devices, processors)
    assert len(warnings) == bool(word)
    assert all(word in text and "may differ by a count" in text for text in warnings)
