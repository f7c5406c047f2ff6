"""The metrics of the project: each folder is complete in itself and loads by `evaluate.load`."""
