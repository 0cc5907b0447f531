"""The node store: installed-form trees, each built once, verified, read-only, linked into any number of prefixes."""
