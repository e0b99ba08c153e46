"""What all routes share: dispatch, authentication, bodies, error rendering, streams."""
