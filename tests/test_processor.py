"""The processor's name and vector extensions, as the kernel tells them."""

import pytest

from etl import processor


@pytest.fixture
def cpuinfo(monkeypatch, tmp_path):
    """Writes what the kernel is to say; nothing is written: it says nothing."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_CPUINFO", path)
    return path.write_text


def test_an_x86_processor_is_described_by_its_model_and_vector_extensions(cpuinfo):
    cpuinfo(
        "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nflags\t\t: fpu sse4_2 avx2 fma aes avx\n\nprocessor\t: 1\n"
        "model name\t: another\nflags\t\t: avx512f\n"
    )
    assert processor.vector_extensions() == ("avx", "avx2", "fma", "sse4_2")
    assert processor.describe_processor() == "AMD EPYC 7B13: avx avx2 fma sse4_2"


def test_an_arm_processor_is_described_by_its_features(cpuinfo):
    cpuinfo("processor\t: 0\nFeatures\t: fp asimd evtstrm aes sve sve2\nCPU part\t: 0xd40\n")
    assert processor.vector_extensions() == ("asimd", "sve", "sve2")


def test_where_the_kernel_says_nothing_the_extensions_are_not_known(cpuinfo):
    assert processor.processor_model()
    assert processor.vector_extensions() == ()
    assert processor.describe_processor().endswith(": vector extensions not known")
