"""Marks that transformers' own tests carry; unknown marks are errors in this project."""

import pytest

MARKS = (
    "accelerate_tests",
    "flash_attn_test",
    "flash_attn_3_test",
    "flash_attn_4_test",
    "flash_attn_kernels_mps_test",
    "flash_attn_kernels_test",
    "generate",
    "torch_compile_test",
)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    for mark in MARKS:
        config.addinivalue_line("markers", f"{mark}: set by transformers' common tests")
