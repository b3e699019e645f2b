"""A page with every table and figure of a scaling study."""
