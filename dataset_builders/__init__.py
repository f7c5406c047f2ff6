"""Dataset builders: public data sets to instruction data."""
