"""What the Space lets a visitor send, and how many it serves at a time."""

from typing import Any

__all__ = ["BLOCKS", "LAUNCH", "QUEUE"]

BLOCKS: dict[str, Any] = {"delete_cache": (600, 3600)}
"""Of the page: files of visitors are looked at every ten minutes, and deleted after an hour."""

QUEUE: dict[str, Any] = {"max_size": 64, "default_concurrency_limit": 1}
"""Of the queue."""

LAUNCH: dict[str, Any] = {"max_file_size": "100mb", "allowed_paths": []}
"""Of the server."""
