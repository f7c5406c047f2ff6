"""Training: the face network, then instruction tuning with TRL."""
