"""What goes to the Hub: the export of a complete model folder."""
