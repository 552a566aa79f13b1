"""Mail in, drafts out: the slice that speaks with Gmail."""
