"""What goes to the Hub: the export of a complete model folder, and the push of it and of others."""
