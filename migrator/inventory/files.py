"""Files that a person names."""

from __future__ import annotations

from pathlib import Path

from migrator.errors import BadInput


def read_text(path: Path) -> str:
    """What a file holds; BadInput, in one line, where it cannot be read or is no text."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadInput(f"{path}: cannot be read: {reason}") from error
