"""Sources of captioned images, one module per source."""
