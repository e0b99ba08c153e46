"""The operator's own index: folders and pages that searches find passages of, also without a network."""
