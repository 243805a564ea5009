"""A HistFactory workspace, kept: from its JSON file to a checked bundle."""
