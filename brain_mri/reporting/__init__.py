"""Records -> tables, text, figures, model card, report, slides. Never runs a model."""
