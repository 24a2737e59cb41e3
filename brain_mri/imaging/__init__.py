"""Any file a visitor has -> `Scan` or `Volume` -> the head square that the models see."""
