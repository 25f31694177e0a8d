"""Values refused in a file are refused in an override as well, with the override named."""

import time

import pytest

from paceline import load_config
from paceline.core.config.load import parse_override
from paceline.core.errors import ConfigError


@pytest.mark.parametrize(
    "value",
    [
        "[" * 3000 + "]" * 3000,
        "{a: " * 3000 + "}" * 3000,
        "!!timestamp x",
        "!!int ''",
        '"\\UFFFFFFFF"',
        "!!python/name:os.system ''",
        "[&a [x, x], &b [*a, *a], " + ", ".join(f"&n{i} [{'*b, ' * 90}*b]" for i in range(200)) + "]",
        "{a: 1, a: 2}",
        "a\0b",
        "\udc80",
    ],
)
def test_a_value_that_is_refused_in_a_file_is_refused_in_an_override(value):
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"^override ") as caught:
        parse_override(f"policy={value}")
    assert time.monotonic() - began < 5
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("policy." + "length." * 3000 + "window", "3"),
        ("generation.seed", "99999999999999999999999999"),
        ("generation.temperature", ".nan"),
        ("generation.temperature", "1.0e+300"),
        ("policy.gamma", ".inf"),
        ("trace", '"a\\0b"'),
        ("trace", '"\\ud800"'),
        ("drafts", "{a: [" + "[" * 70 + "]" * 70 + "]}"),
        ("drafts.²", "x"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_the_override_that_gave_it(key, value):
    name, parsed = parse_override(f"{key}={value}")
    with pytest.raises(ConfigError, match=r"override|nested too deeply") as caught:
        load_config(overrides={name: parsed})
    assert len(str(caught.value)) < 2000
