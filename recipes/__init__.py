"""Recipes of `emo-llama train`: one YAML file a training run, found by its name."""
