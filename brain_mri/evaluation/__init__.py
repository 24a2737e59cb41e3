"""A model and labelled rows -> metric records; the audit of a data folder."""
