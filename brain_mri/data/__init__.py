"""Class folders and masks -> one table with its groups and split; phantoms."""
