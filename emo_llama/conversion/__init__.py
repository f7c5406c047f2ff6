"""Reference checkpoints: which of their tensors goes where in the models of this project."""
