"""The model folder: its typed config, how it is written and checked, the Hub, the Space."""
