"""Functions of the language, one file per family; a new file is found by being here."""
