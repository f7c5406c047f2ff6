"""The model files that travel to the Hub."""
