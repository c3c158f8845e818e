"""Who may serve a request, by what upstream holds for it."""
