"""What a report becomes elsewhere: tables, figures, annotated cells."""
