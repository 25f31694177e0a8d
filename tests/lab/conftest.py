"""The command line inside the test's own process, where parts of it can be replaced."""

import pytest
import structlog

from paceline.lab.cli import app


@pytest.fixture
def run_here():
    """Return what runs the command line here; logging is put back, since the command configures it."""
    yield lambda *arguments: app.run([str(argument) for argument in arguments])
    structlog.reset_defaults()
