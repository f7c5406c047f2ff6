"""The metric of facial expression recognition; the folder is what the Hub gets."""
