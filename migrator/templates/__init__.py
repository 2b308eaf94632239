"""Templates: read from what people have, kept by what they hold."""
