"""The report on a trained model, as markdown and as HTML, with its plots."""
