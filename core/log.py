"""The logger of the package: structlog, loaded when something is logged, since it is a third of `import paceline`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


class _Logger:
    def __getattr__(self, name: str) -> Any:
        import structlog  # noqa: PLC0415 - see above

        return getattr(structlog.get_logger(), name)


log: Final = cast("FilteringBoundLogger", _Logger())
"""Logs as `structlog.get_logger()` does, by the program's own configuration."""
