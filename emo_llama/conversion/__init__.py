"""Models out of other models: reference checkpoints converted, and new ones put together."""
