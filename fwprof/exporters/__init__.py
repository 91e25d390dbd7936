"""The built-in exporters: registered and loaded like anybody's."""
