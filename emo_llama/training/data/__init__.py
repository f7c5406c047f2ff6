"""What a tuning is fed with: instruction rows, changes, sampling, stored features, batches."""
