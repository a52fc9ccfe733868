"""Tree to text in the canonical layout: what `pdec format` writes."""
