"""Command lines: argparse, then one call."""
